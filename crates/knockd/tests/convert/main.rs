//! `knockctl convert`: what becomes of each format, and what the program does with it.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use knock_core::sequence::Protocol;
use knockd::ctl::convert::{ConvertError, Format, Note, convert};
use proptest::prelude::*;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/convert/examples")
}

fn example(name: &str) -> io::Result<Vec<u8>> {
    fs::read(examples().join(name))
}

fn service(name: &str, protocol: Protocol) -> Option<u16> {
    match (name, protocol) {
        ("ssh", Protocol::Tcp) => Some(22),
        ("domain", _) => Some(53),
        _ => None,
    }
}

/// What came of an example: its format, the notes, and the result, which `knockctl check` takes.
fn told(name: &str) -> Result<String, Box<dyn Error>> {
    let converted = convert(&example(name)?, None, &service);
    let (format, converted) = converted.map_err(|error| format!("{error:?}"))?;
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), &converted.text)?;
    let mut check = Command::new(env!("CARGO_BIN_EXE_knockctl"));
    let checked = check.args(["check", "-c"]).arg(file.path()).output()?;
    assert!(checked.status.success(), "{}", text(&checked.stdout));
    let notes = converted.notes.iter();
    let notes: String = notes
        .map(|Note { line, text }| format!("{line}: {text}\n"))
        .collect();
    Ok(format!(
        "{}\n\n{notes}\n{}",
        format.name(),
        text(&converted.text)
    ))
}

#[test]
fn two_sequences_of_the_original_become_two_native_doors() {
    insta::assert_snapshot!(told("classic.conf").unwrap());
}

#[test]
fn commands_of_each_firewall_become_native_doors() {
    insta::assert_snapshot!(told("firewalls.conf").unwrap());
}

#[test]
fn what_a_native_door_cannot_do_stays_a_command_and_is_told() {
    insta::assert_snapshot!(told("kept.conf").unwrap());
    let before = example("kept.conf").unwrap();
    let (_, converted) = convert(&before, None, &service).unwrap();
    assert_eq!(converted.text, before);
}

#[test]
fn stanzas_of_fwknop_become_doors_of_sealed_packets() {
    insta::assert_snapshot!(told("access.conf").unwrap());
}

#[test]
fn resources_of_letmein_become_doors_of_sealed_packets() {
    insta::assert_snapshot!(told("letmeind.conf").unwrap());
}

#[test]
fn address_lists_of_routeros_become_a_door() {
    insta::assert_snapshot!(told("routeros.rsc").unwrap());
}

#[test]
fn lists_of_the_match_recent_become_a_door() {
    insta::assert_snapshot!(told("recent-flat.rules").unwrap());
}

#[test]
fn chains_with_the_match_recent_become_a_door() {
    insta::assert_snapshot!(told("recent-chains.rules").unwrap());
}

#[test]
fn sets_of_nftables_become_a_door() {
    insta::assert_snapshot!(told("stages.nft").unwrap());
}

#[test]
fn sets_of_nftables_with_ports_in_them_become_a_door() {
    insta::assert_snapshot!(told("pairs.nft").unwrap());
}

#[test]
fn secrets_of_other_programs_are_not_repeated() {
    for name in ["access.conf", "letmeind.conf"] {
        let told = told(name).unwrap();
        for secret in ["c2VjcmV0", "aG1hY2ht", "passphrase", "ABCD1234", "89ABCDEF"] {
            assert!(!told.contains(secret), "{name}: {secret}");
        }
    }
}

#[test]
fn what_opens_nothing_and_what_is_no_format_is_an_error() {
    let rules = b"-A INPUT -p tcp --dport 25 -m recent --set --name SMTP -j ACCEPT\n";
    let format = Format::IptablesRecent;
    let nothing = ConvertError::Nothing(format);
    assert_eq!(convert(rules, None, &service), Err(nothing));
    assert_eq!(
        convert(b"hello\n", None, &service),
        Err(ConvertError::Unknown)
    );
    let mistake = convert(b"[A]\nsequence = 70000\n", None, &service);
    assert!(matches!(mistake, Err(ConvertError::Mistakes(_))));
    let ports: String = (1..80).map(|n| format!("{n}, ")).collect();
    let users = format!("[RESOURCES]\n1 = port: 22 / users: {ports}\n");
    let unfit = convert(users.as_bytes(), None, &service);
    assert!(matches!(unfit, Err(ConvertError::Unfit(_))), "{unfit:?}");
}

#[test]
fn a_right_that_has_no_equal_is_not_replaced_by_another() {
    let stanza = b"SOURCE ANY\nOPEN_PORTS icmp/0\nKEY x\n";
    let nothing = ConvertError::Nothing(Format::Fwknop);
    assert_eq!(convert(stanza, None, &service), Err(nothing));
    let jump = b"[RESOURCES]\n1 = jump / input: X / users: 2\n";
    let nothing = ConvertError::Nothing(Format::Letmein);
    assert_eq!(convert(jump, None, &service), Err(nothing));
}

#[test]
fn a_comment_of_any_bytes_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.conf");
    let rest = b"[A]\nsequence = 1,3,2\ncommand = ufw allow from %IP% to any port 22 proto tcp\n";
    let before = [&b"# caf\xe9\n"[..], rest].concat();
    fs::write(&path, before).unwrap();
    let output = knockctl(&[&path.display().to_string()]).unwrap();
    assert!(output.stdout.starts_with(b"# caf\xe9\n[A]\n"));
    assert!(output.stdout.ends_with(b"\nopen_for = 24h\n"));
}

#[test]
fn one_rule_less_is_one_way_less() {
    let text = String::from_utf8(example("recent-chains.rules").unwrap()).unwrap();
    for port in ["11111", "23232", "17171"] {
        let lines = text.lines().filter(|line| !line.contains(port));
        let without: String = lines.map(|line| format!("{line}\n")).collect();
        let converted = convert(without.as_bytes(), None, &service);
        assert_eq!(
            converted,
            Err(ConvertError::Nothing(Format::IptablesRecent)),
            "{port}"
        );
    }
}

#[test]
fn two_ways_to_the_same_list_are_two_doors() {
    let other = "-A INPUT -p tcp --dport 9999 -m recent --set --name SSH3 -j DROP\n";
    let mut text = String::from_utf8(example("recent-flat.rules").unwrap()).unwrap();
    text = text.replace(
        "-A INPUT -p tcp -m tcp --dport 25 -m recent --set",
        &format!("{other}-A INPUT -p tcp -m tcp --dport 25 -m recent --set"),
    );
    let (_, converted) = convert(text.as_bytes(), None, &service).unwrap();
    let text = String::from_utf8(converted.text).unwrap();
    assert!(
        text.contains("[ssh]\n    sequence    = 7101,7303:udp,7202\n"),
        "{text}"
    );
    assert!(text.contains("[ssh-2]\n    sequence    = 9999\n"), "{text}");
}

#[test]
fn lines_keep_their_ends_and_their_look() {
    let text =
        "[A]\r\nsequence = 1,3,2\r\n\tcommand=ufw allow from %IP% to any port 22 proto tcp\r\n";
    let (_, converted) = convert(text.as_bytes(), None, &service).unwrap();
    let expected = "[A]\r\nsequence = 1,3,2\r\n\topen=tcp/22\r\n\topen_for=24h\r\n";
    assert_eq!(String::from_utf8(converted.text).unwrap(), expected);
    let text =
        "[A]\nsequence = 1,3,2\nstart_command = ufw allow from %IP% to any port 22 proto tcp";
    let (_, converted) = convert(text.as_bytes(), None, &service).unwrap();
    assert!(converted.text.ends_with(b"\nopen_for      = 24h"));
}

/// Lines of all examples, in any order, some of them damaged.
fn anything() -> io::Result<impl Strategy<Value = Vec<u8>>> {
    let files = fs::read_dir(examples())?;
    let texts = files.map(|file| fs::read(file?.path()));
    let texts = texts.collect::<io::Result<Vec<_>>>()?;
    let lines: Vec<Vec<u8>> = texts
        .iter()
        .flat_map(|text| text.split_inclusive(|byte| *byte == b'\n'))
        .map(<[u8]>::to_vec)
        .collect();
    let mixed = proptest::collection::vec(proptest::sample::select(lines), 0..30);
    let mixed = mixed.prop_map(|lines| lines.concat());
    let base = prop_oneof![mixed, proptest::sample::select(texts)];
    let damage = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4);
    Ok((base, damage).prop_map(|(mut bytes, damage)| {
        for (place, byte) in damage.into_iter().take(bytes.len()) {
            let place = place.index(bytes.len());
            if let Some(old) = bytes.get_mut(place) {
                *old = byte;
            }
        }
        bytes
    }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_converted_is_a_configuration_and_converting_it_changes_nothing(
        bytes in prop_oneof![anything().unwrap(), proptest::collection::vec(any::<u8>(), 0..300)],
        format in proptest::option::of(proptest::sample::select(Format::ALL.to_vec())),
    ) {
        let Ok((_, once)) = convert(&bytes, format, &service) else {
            return Ok(());
        };
        let parsed = knock_core::config::parse(&once.text, &service);
        prop_assert!(parsed.config.is_some(), "{}", String::from_utf8_lossy(&once.text));
        if let Ok((_, twice)) = convert(&once.text, Some(Format::Knockd), &service) {
            prop_assert_eq!(String::from_utf8_lossy(&twice.text), String::from_utf8_lossy(&once.text));
        }
    }
}

fn knockctl(arguments: &[&str]) -> io::Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_knockctl"));
    command.arg("convert").args(arguments);
    command.current_dir(examples()).output()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_result_goes_to_standard_output_and_the_warnings_do_not() {
    let output = knockctl(&["classic.conf"]).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("\topen        = tcp/22\n"));
    let said = text(&output.stderr);
    assert!(
        said.starts_with("classic.conf: read as knockd.conf\n"),
        "{said}"
    );
    assert!(
        said.contains("warning: classic.conf:6: [openSSH] was open until"),
        "{said}"
    );
}

#[test]
fn a_difference_is_a_unified_one() {
    let output = knockctl(&["--diff", "classic.conf"]).unwrap();
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!(text(&output.stdout));
    let converted = tempfile::NamedTempFile::new().unwrap();
    fs::write(
        converted.path(),
        knockctl(&["classic.conf"]).unwrap().stdout,
    )
    .unwrap();
    let output = knockctl(&["--diff", &converted.path().display().to_string()]).unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(0), String::new())
    );
}

#[test]
fn a_file_is_written_for_its_owner_alone_and_never_over_another() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new.conf");
    let written = path.display().to_string();
    let output = knockctl(&["classic.conf", "--output", &written]).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(
        fs::read(&path).unwrap(),
        knockctl(&["classic.conf"]).unwrap().stdout
    );
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&path, "mine").unwrap();
    let output = knockctl(&["classic.conf", "--output", &written]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is there already"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn what_cannot_be_read_is_1_with_the_reason() {
    let output = knockctl(&["/nonexistent"]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let expected = "knockctl: /nonexistent: No such file or directory\n";
    assert_eq!(text(&output.stderr), expected);
    let output = knockctl(&["/dev/null"]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("say with --from what it is"));
    let output = knockctl(&["--from", "knockd", "routeros.rsc"]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("mend these first"));
}
