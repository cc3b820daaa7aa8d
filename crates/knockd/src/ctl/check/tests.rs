use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A directory with files in it, all for their owner alone.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        self.chmod(name, 0o600);
        path
    }

    fn chmod(&self, name: &str, mode: u32) {
        let path = self.0.path().join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The warnings of `text`, one a line; `@` stands for the directory.
    fn findings(&self, text: &str, system: &System) -> String {
        let here = self.0.path().display().to_string();
        let text = text.replace('@', &here);
        let path = self.write("knockd.conf", &text);
        self.warnings(&path, &text, system).replace(&here, "@")
    }

    fn warnings(&self, path: &Path, text: &str, system: &System) -> String {
        let loaded = config_file::load(path, &Services::system()).unwrap();
        let findings = Findings::of(&loaded, system);
        let diagnostics = findings.diagnostics.iter();
        let lines = diagnostics.map(|d| format!("`{}`: {}\n", &text[d.span.clone()], d.message));
        let notes = findings
            .notes
            .iter()
            .map(|note| format!("{}\n", note.message));
        lines.chain(notes).collect()
    }
}

#[test]
fn files_of_keys_are_looked_at() {
    let place = Place::new();
    place.write("good", "");
    place.write("shared", "");
    place.chmod("shared", 0o664);
    fs::create_dir(place.0.path().join("keys")).unwrap();
    let text = |keys: &str| format!("[A]\nopen = tcp/22\nauthorized_keys = {keys}\n");
    let told = |keys: &str| place.findings(&text(keys), &System::default());
    let all = "@/good, @/shared, @/none, @/keys, @/keys/*, @/none/*, ~nobody-is-so-called/keys";
    assert_eq!(told("@/good, @/keys/*, ~root/*"), "");
    assert_eq!(
        told(all),
        [
            "others than its owner can change `@/shared` (mode 0664)",
            "`@/none` cannot be read: No such file or directory",
            "`@/keys` is a directory",
            "there is no directory `@/none`",
            "there is no account `nobody-is-so-called`",
        ]
        .map(|message| format!("`{all}`: {message}\n"))
        .concat()
    );
}

#[test]
fn a_program_that_listens_where_sealed_packets_arrive_is_told() {
    let place = Place::new();
    place.write("k", "");
    let system = System {
        listeners: Listeners::of_udp(&[7, 51443]),
        ..System::default()
    };
    let door = "[A]\nauthorized_keys = @/k\n";
    let told = |options: &str| place.findings(&format!("{door}[options]\n{options}"), &system);
    let listens = |at: &str, port: u16| {
        format!("`{at}`: a program listens at UDP port {port}, where sealed packets arrive\n")
    };
    assert_eq!(told(""), listens("@/k", 51443));
    assert_eq!(told("spa_port = 8"), "");
    assert_eq!(told("spa_port = 7, 8"), listens("7, 8", 7));
    let native = "[A]\nauthorized_keys = @/k\nopen = tcp/22\n[options]\nspa_port = 7\n";
    let dropped =
        listens("7", 7).replace("arrive\n", "arrive, and the gate drops what comes there\n");
    assert_eq!(place.findings(native, &system), dropped);
    let loud = format!("{native}spa_silent = no\n");
    assert_eq!(place.findings(&loud, &system), listens("7", 7));
    assert_eq!(
        place.findings(
            "[A]\nsequence = 9,8,7:udp\ntcpflags = syn\nstrict\n[options]\nspa_port = 7\n",
            &system
        ),
        ""
    );
}

#[test]
fn a_directory_of_state_that_cannot_be_made_is_told() {
    let place = Place::new();
    place.write("file", "");
    let told = |path: &str| {
        place.findings(
            &format!("[options]\nstate_dir = {path}\n"),
            &System::default(),
        )
    };
    assert_eq!((told("@"), told("@/new")), (String::new(), String::new()));
    assert_eq!(told("@/file"), "`@/file`: this is no directory\n");
    assert_eq!(
        told("@/new/new"),
        "`@/new/new`: there is no directory `@/new`\n"
    );
}

#[test]
fn a_list_of_what_is_revoked_that_lets_nobody_in_is_told() {
    let place = Place::new();
    let told = |place: &Place| {
        let text = "[options]\nrevoked_keys = @/list\n[A]\nsequence = 7000,9000,8000\ntcpflags = syn\nstrict\n";
        place.findings(text, &System::default())
    };
    let missing = "`@/list`: `@/list` is not taken: No such file or directory\n";
    assert_eq!(told(&place), missing);
    place.write("list", "serial: 0\nid: x\nwhat\n");
    assert_eq!(
        told(&place),
        "`@/list`: @/list:1:1: not a serial number above 0, or a range of them\n\
         `@/list`: @/list:3:1: a public key, a fingerprint, serial:, id: or hash: is expected here\n"
    );
    place.write("list", "serial: 4\n");
    assert_eq!(told(&place), "");
    place.chmod("list", 0o622);
    assert!(told(&place).contains("others can change"));
}

const DOOR: &str = "[A]\ntcpflags = syn\nstrict\nsequence = 7000,9000,8000\n";

#[test]
fn a_good_file_has_nothing_to_warn_of() {
    let place = Place::new();
    place.write("sh", "");
    place.chmod("sh", 0o755);
    let system = System {
        search: SearchPath::of(place.0.path()),
        interfaces: Some(place.0.path().into()),
        ..System::default()
    };
    let text = format!(
        "[options]\nlogfile = @/log\ninterface = any, sh\n{DOOR}command = sh %IP%\nuser = root\n"
    );
    assert_eq!(place.findings(&text, &system), "");
}

#[test]
fn directories_and_interfaces_that_are_missing_are_told() {
    let place = Place::new();
    let system = System {
        interfaces: Some(place.0.path().into()),
        ..System::default()
    };
    let options = "[options]\nlogfile = @/none/log\npidfile = run/pid\njournal = @/no/j\n\
                   interface = any, eth9\n";
    assert_eq!(
        place.findings(&format!("{options}{DOOR}"), &system),
        "`@/none/log`: there is no directory `@/none`\n\
         `run/pid`: a relative path depends on where knockd is started\n\
         `@/no/j`: there is no directory `@/no`\n\
         `any, eth9`: there is no interface `eth9` now\n"
    );
    let text = format!("[options]\nlogfile = @\n{DOOR}");
    assert_eq!(place.findings(&text, &system), "`@`: this is a directory\n");
}

#[test]
fn a_port_that_is_open_is_told() {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let system = System {
        listeners: Listeners::read(Path::new("/proc/net")),
        ..System::default()
    };
    let sequence = format!("3:udp,{port},{port}:udp,{port}");
    let text = format!("[A]\ntcpflags = syn\nstrict\nsequence = {sequence}\n");
    assert_eq!(
        Place::new().findings(&text, &system),
        format!("`{sequence}`: a program listens at TCP port {port}\n")
    );
}

#[test]
fn a_port_that_is_open_but_guarded_is_told_once() {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let system = System {
        listeners: Listeners::read(Path::new("/proc/net")),
        ..System::default()
    };
    let sequence = format!("3:udp,{port},9:udp");
    let text = format!("[A]\ntcpflags = syn\nsequence = {sequence}\nopen = tcp/{port}\n");
    assert_eq!(
        Place::new().findings(&text, &system),
        format!("`{sequence}`: the door `A` opens tcp/{port}, which is knocked at here\n")
    );
}

#[test]
fn programs_that_cannot_be_run_are_told_at_their_name() {
    let place = Place::new();
    place.write("data", "");
    let system = System {
        search: SearchPath::of(place.0.path()),
        ..System::default()
    };
    let commands = "command = X=1 wibble %IP%\ncommand_6 = /none/wobble\n\
                    stop_command = data\nstop_command_6 = echo\n";
    assert_eq!(
        place.findings(&format!("{DOOR}{commands}"), &system),
        "`wibble`: there is no program `wibble`\n\
         `/none/wobble`: there is no program `/none/wobble`\n\
         `data`: `data` cannot be run\n"
    );
}

#[test]
fn an_account_that_is_missing_is_told() {
    let text = format!("{DOOR}user = no-such-account\n");
    assert_eq!(
        Place::new().findings(&text, &System::default()),
        "`no-such-account`: there is no account `no-such-account`\n"
    );
}

#[test]
fn a_file_of_one_time_sequences_is_read() {
    let place = Place::new();
    let text = "[A]\ntcpflags = syn\none_time_sequences = @/once\n";
    let system = System::default();
    assert_eq!(
        place.findings(text, &system),
        "`@/once`: this file cannot be read: No such file or directory\n"
    );
    place.write("once", "#7000,8000\n 7000,9000\n");
    assert_eq!(place.findings(text, &system), "");
    place.write("once", "#7000,8000\n");
    assert_eq!(
        place.findings(text, &system),
        "`@/once`: no sequence is left in this file, so that the door stays shut\n"
    );
    place.write("once", &("junk\n".repeat(12) + "7000\n"));
    place.chmod("once", 0o644);
    let told = place.findings(text, &system);
    assert!(told.starts_with("`@/once`: every account can read or change this file (mode 0644)\n"));
    assert!(told.contains("line 1 of this file is skipped: "), "{told}");
    assert!(
        told.ends_with("`@/once`: 2 more lines of this file are skipped\n"),
        "{told}"
    );
}

#[test]
fn a_file_that_everybody_can_read_is_told() {
    let place = Place::new();
    let path = place.write("knockd.conf", DOOR);
    place.chmod("knockd.conf", 0o644);
    assert_eq!(
        place.warnings(&path, DOOR, &System::default()),
        "every account of this machine can read the sequences (mode 0644)\n"
    );
}

#[test]
fn the_report_has_mistakes_in_order_then_notes_then_a_count() {
    let place = Place::new();
    let text = "[A]\nsequence = 7000,8000\n";
    let path = place.write("knockd.conf", text);
    place.chmod("knockd.conf", 0o644);
    let loaded = config_file::load(&path, &Services::system()).unwrap();
    let report = Findings::of(&loaded, &System::default()).render(&loaded);
    let report = anstream::adapter::strip_str(&report).to_string();
    insta::assert_snapshot!(report.replace(&path.display().to_string(), "knockd.conf"));
}

#[test]
fn hooks_and_what_runs_once_are_looked_at_as_commands_are() {
    let place = Place::new();
    let text = "[options]\naudit_file = @/none/audit\non_start = @/start\non_refuse = @/refuse\n\
        [A]\nsequence = 1,2,3\nopen = tcp/22\ntcpflags = syn\nstrict\non_open = @/open %ip%\n";
    let told = place.findings(text, &System::default());
    for line in [
        "`@/none/audit`: there is no directory `@/none`",
        "`@/start`: there is no program `@/start`",
        "`@/refuse`: there is no program `@/refuse`",
        "`@/open`: there is no program `@/open`",
        "`%ip%`: `%ip%` is not replaced",
    ] {
        assert!(told.lines().any(|told| told == line), "{line}\n{told}");
    }
}
