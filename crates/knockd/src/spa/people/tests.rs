use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};

use knock_core::config;
use tempfile::TempDir;

use super::super::base64::encode;
use super::*;

/// A folder with files of keys; `@` stands for it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        self.chmod(name, 0o600);
    }

    fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    fn people(&self, doors: &str) -> (People, Vec<String>) {
        self.with(doors, None)
    }

    fn with(&self, doors: &str, revoked: Option<&str>) -> (People, Vec<String>) {
        let text = doors.replace('@', &self.0.path().display().to_string());
        let config = config::parse(text.as_bytes(), &|_, _| None).config.unwrap();
        let revoked = revoked.map(|name| self.path(name));
        let (people, lines) = People::new(&config.doors, revoked.as_deref());
        (people, self.told(&lines))
    }

    fn told(&self, lines: &[Line]) -> Vec<String> {
        let here = self.0.path().display().to_string();
        let text = |line: &Line| line.message(None).replace(&here, "@");
        lines.iter().map(text).collect()
    }

    /// What is told of a change; `None` if there was none.
    fn follow(&self, people: &mut People) -> Option<Vec<String>> {
        people.follow().map(|lines| self.told(&lines))
    }
}

fn key(n: u8) -> String {
    let mut blob = Vec::new();
    for part in [b"ssh-ed25519".as_slice(), &[n; 32]] {
        blob.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
        blob.extend(part);
    }
    format!("ssh-ed25519 {}", encode(&blob))
}

/// `comment: doors` of each line, in alphabetical order.
fn lines(people: &People) -> Vec<String> {
    let line = |key: &knock_spa::AuthorizedKey| {
        let doors = key.options.doors.iter().flatten();
        let doors: Vec<_> = doors.map(DoorName::as_str).collect();
        format!("{}: {}", key.comment, doors.join(" "))
    };
    let mut lines: Vec<_> = people.ring.lines().map(line).collect();
    lines.sort();
    lines
}

const SSH: &str = "[ssh]\nauthorized_keys = @/keys\nopen = tcp/22\n";
const CLOSED: &str = "nobody in it can knock";

#[test]
fn a_line_opens_the_doors_that_name_its_file_and_of_those_what_it_names() {
    let place = Place::new();
    let (a, b) = (key(1), key(2));
    place.write("keys", &format!("{a} alice\ndoors=\"web,db\" {b} bob\n"));
    place.write("more", &format!("{b} bob elsewhere\n"));
    let (people, told) = place.people(
        "[ssh]\nauthorized_keys = @/keys, @/more\n[web]\nauthorized_keys = @/keys\n\
         [db]\nsequence = 1\n",
    );
    assert_eq!(told, [""; 0]);
    assert_eq!(
        lines(&people),
        ["alice: ssh web", "bob elsewhere: ssh", "bob: web"]
    );
}

#[test]
fn a_change_counts_and_no_change_is_not_read_again() {
    let place = Place::new();
    place.write("keys", &format!("{} alice\n", key(1)));
    let (mut people, _) = place.people(SSH);
    assert_eq!(place.follow(&mut people), None);
    place.write("keys", &format!("{} alice\n{} bob\n", key(1), key(2)));
    assert_eq!(place.follow(&mut people), Some(vec![]));
    assert_eq!(lines(&people), ["alice: ssh", "bob: ssh"]);
    assert_eq!(place.follow(&mut people), None);
    // Of the same size, and put in its place at once.
    place.write("new", &format!("{} alice\n{} eve\n", key(1), key(2)));
    fs::rename(place.path("new"), place.path("keys")).unwrap();
    assert_eq!(place.follow(&mut people), Some(vec![]));
    assert_eq!(lines(&people), ["alice: ssh", "eve: ssh"]);
    fs::remove_file(place.path("keys")).unwrap();
    let gone = format!("@/keys: No such file or directory: {CLOSED}");
    assert_eq!(place.follow(&mut people), Some(vec![gone]));
    assert!(people.ring.is_empty());
    assert_eq!(place.follow(&mut people), None, "told once");
    place.write("keys", &key(3));
    assert_eq!(place.follow(&mut people), Some(vec![]));
    assert_eq!(people.ring.len(), 1);
}

#[test]
fn a_pattern_is_what_is_there_now() {
    let place = Place::new();
    fs::create_dir(place.path("keys")).unwrap();
    place.write("keys/b.pub", &format!("{} b\n", key(2)));
    place.write("keys/.swp.pub", &format!("{} hidden\n", key(4)));
    place.write("keys/c.pub~", &format!("{} old\n", key(5)));
    let (mut people, told) = place.people("[ssh]\nauthorized_keys = @/keys/*.pub\n");
    assert_eq!((told, lines(&people)), (vec![], vec!["b: ssh".into()]));
    place.write("keys/a.pub", &format!("{} a\n", key(1)));
    assert_eq!(place.follow(&mut people), Some(vec![]));
    assert_eq!(lines(&people), ["a: ssh", "b: ssh"]);
    fs::remove_file(place.path("keys/b.pub")).unwrap();
    assert_eq!(place.follow(&mut people), Some(vec![]));
    assert_eq!(lines(&people), ["a: ssh"]);
}

#[test]
fn what_others_can_change_lets_nobody_in() {
    let place = Place::new();
    place.write("keys", &key(1));
    for mode in [0o620, 0o602, 0o666] {
        place.chmod("keys", mode);
        let (people, told) = place.people(SSH);
        let why = format!("@/keys: others can change @/keys (mode {mode:04o}): {CLOSED}");
        assert_eq!((told, people.ring.len()), (vec![why], 0));
    }
    place.chmod("keys", 0o644);
    for (mode, count) in [(0o777, 0), (0o775, 0), (0o755, 1), (0o1777, 1)] {
        place.chmod("", mode);
        assert_eq!(place.people(SSH).0.ring.len(), count, "{mode:o}");
    }
}

#[test]
fn where_a_link_leads_counts_not_where_it_is() {
    let place = Place::new();
    fs::create_dir(place.path("open")).unwrap();
    place.write("open/real", &key(1));
    symlink(place.path("open/real"), place.path("keys")).unwrap();
    assert_eq!(place.people(SSH).0.ring.len(), 1);
    place.chmod("open", 0o777);
    let (people, told) = place.people(SSH);
    let why = format!("@/keys: others can change @/open (mode 0777): {CLOSED}");
    assert_eq!((told, people.ring.len()), (vec![why], 0));
}

#[test]
fn what_is_no_file_or_too_long_for_one_lets_nobody_in() {
    let place = Place::new();
    fs::create_dir(place.path("keys")).unwrap();
    assert_eq!(place.people(SSH).1, [format!("@/keys: no file: {CLOSED}")]);
    fs::remove_dir(place.path("keys")).unwrap();
    place.write("keys", &key(1));
    let file = fs::OpenOptions::new()
        .append(true)
        .open(place.path("keys"))
        .unwrap();
    file.set_len(MAX_BYTES + 1).unwrap();
    let why = format!("@/keys: it is larger than {MAX_BYTES} bytes: {CLOSED}");
    assert_eq!(place.people(SSH).1, [why]);
}

#[test]
fn of_an_account_that_is_not_there_no_file_is_looked_for() {
    let place = Place::new();
    let (people, told) = place.people("[a]\nauthorized_keys = ~nobody-is-so-called/.ssh/keys\n");
    assert_eq!((told.len(), people.ring.len()), (0, 0));
}

#[test]
fn mistakes_are_told_with_their_place_and_keep_no_other_line_out() {
    let place = Place::new();
    let wrong = "nonsense\n".repeat(20);
    place.write("keys", &format!("{wrong}{} alice\n", key(1)));
    let (people, told) = place.people(SSH);
    assert_eq!((told.len(), people.ring.len()), (MAX_TOLD, 1));
    assert!(told[0].starts_with("@/keys:1:1: "), "{told:?}");
}

#[test]
fn a_key_is_called_by_its_fingerprint_and_the_comment_of_its_first_line() {
    let place = Place::new();
    place.write(
        "keys",
        &format!("{0} alice@desk\n{0} somebody else\n{1}\n", key(1), key(2)),
    );
    let (people, _) = place.people(SSH);
    let names: Vec<_> = people
        .ring
        .lines()
        .map(|line| people.name(line.key.id()))
        .collect();
    let alice = names.iter().filter(|name| name.ends_with(" (alice@desk)"));
    assert_eq!(alice.count(), 2);
    assert!(names.iter().all(|name| name.starts_with("SHA256:")));
    assert_eq!(
        names.iter().filter(|name| name.len() == 50).count(),
        1,
        "{names:?}"
    );
    assert!(people.name(KeyId([7; 16])).starts_with("key "));
}

#[test]
fn a_list_of_what_is_revoked_counts_as_it_is_now() {
    let place = Place::new();
    place.write("keys", &format!("{} alice\n{} bob\n", key(1), key(2)));
    place.write("revoked", "# nobody\n");
    let (mut people, told) = place.with(SSH, Some("revoked"));
    let revoked = |people: &People| {
        let lines = people.ring.lines();
        let gone = lines.filter(|line| people.ring.revoked().has_key(&line.key));
        gone.map(|line| line.comment.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!((told, revoked(&people)), (vec![], vec![]));
    place.write("revoked", &format!("{} lost laptop\n", key(2)));
    assert_eq!(place.follow(&mut people), Some(vec![]));
    assert_eq!(
        (revoked(&people), people.ring.len()),
        (vec!["bob".to_owned()], 2)
    );
    assert_eq!(place.follow(&mut people), None);
}

#[test]
fn as_long_as_what_is_revoked_cannot_be_read_nobody_counts() {
    let place = Place::new();
    place.write("keys", &format!("{} alice\n", key(1)));
    let closed = "no sealed packet is taken until that is mended";
    let (mut people, told) = place.with(SSH, Some("revoked"));
    assert_eq!(
        told,
        [format!("@/revoked: No such file or directory: {closed}")]
    );
    assert!(people.ring.is_empty());
    place.write("revoked", "SHA256:short\nserial: 7\n");
    let told = place.follow(&mut people).unwrap();
    assert_eq!(told.len(), 2);
    assert!(
        told[0].starts_with("@/revoked:1:1: not a fingerprint"),
        "{told:?}"
    );
    assert!(told[1].ends_with(closed) && people.ring.is_empty());
    place.write("revoked", "SSHKRL\n\0");
    let told = place.follow(&mut people).unwrap();
    assert!(
        told[0].contains("a list that ssh-keygen -k has made"),
        "{told:?}"
    );
    place.write("revoked", "serial: 7\n");
    place.chmod("revoked", 0o666);
    assert!(place.follow(&mut people).unwrap()[0].contains("others can change"));
    assert!(people.ring.is_empty());
    place.chmod("revoked", 0o644);
    assert_eq!(place.follow(&mut people), Some(vec![]));
    assert_eq!(people.ring.len(), 1);
    fs::remove_file(place.path("revoked")).unwrap();
    assert!(place.follow(&mut people).is_some() && people.ring.is_empty());
}
