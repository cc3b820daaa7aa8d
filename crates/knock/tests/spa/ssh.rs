//! ssh's own configuration: names, keys and agents, as the real ssh reads them.

use super::user::KNOCK;
use super::*;

/// ssh with this configuration, which counts how often it is asked.
struct Ssh {
    path: String,
    asked: PathBuf,
}

impl Ssh {
    fn new(user: &User, configuration: &str) -> Self {
        let (file, asked) = (user.path("ssh_config"), user.path("asked"));
        fs::write(&file, configuration).unwrap();
        let real = std::env::var("PATH").unwrap();
        let mut folders = std::env::split_paths(&real).map(|folder| folder.join("ssh"));
        let ssh = folders.find(|ssh| ssh.is_file()).unwrap();
        let script = format!(
            "echo >> {}\nexec {} -F {} \"$@\"",
            asked.display(),
            ssh.display(),
            file.display()
        );
        let path = stand_in(user, "ssh", &script);
        Self { path, asked }
    }

    fn knock(&self, user: &User, args: &[&str]) -> (i32, String, String) {
        told(&user.command(args).env("PATH", &self.path).output().unwrap())
    }

    fn asked(&self) -> usize {
        let asked = fs::read_to_string(&self.asked).unwrap_or_default();
        asked.lines().count()
    }
}

fn user_with_keys<const N: usize>(names: [&str; N]) -> (User, [String; N]) {
    let user = User::new();
    let lines = names.map(|name| user.key(name, "ed25519"));
    (user, lines)
}

#[test]
fn host_name_and_identity_file_count_and_ssh_is_asked_once() {
    let (user, [line]) = user_with_keys(["work@web"]);
    let server = Server::start(&line, &Ways::default());
    user.store("web", &profile(server.port, &[]));
    let folder = user.path(".ssh").display().to_string();
    let ssh = Ssh::new(
        &user,
        &format!("Host web\n HostName {HOME}\n User work\n IdentityFile {folder}/%r@%n\n"),
    );
    for _ in 0..2 {
        let (code, out, err) = ssh.knock(&user, &["web"]);
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        assert_eq!(ssh.asked(), 1);
    }
    assert_eq!(server.heard().len(), 2);
}

#[test]
fn what_ssh_said_is_asked_anew_when_it_is_of_no_use() {
    let (user, [old, new]) = user_with_keys(["old", "new"]);
    let server = Server::start(&format!("{old}{new}"), &Ways::default());
    user.store(HOME, &profile(server.port, &[]));
    let named = |name: &str| {
        let path = user.path(".ssh").join(name);
        format!("Host *\n IdentityFile {}\n", path.display())
    };
    let ssh = Ssh::new(&user, &named("old"));
    assert_eq!(ssh.knock(&user, &[HOME]).0, 0);
    fs::remove_file(user.path(".ssh/old")).unwrap();
    let ssh = Ssh::new(&user, &named("new"));
    assert_eq!(ssh.knock(&user, &[HOME]).0, 0);
    assert_eq!(ssh.asked(), 2);
    // And after a knock that came to nothing.
    let elsewhere = profile(server.port, &[]).replace("\"epoch\"", "\"host\":\"x\",\"epoch\"");
    user.store(HOME, &elsewhere.replace(&server.port.to_string(), "9"));
    assert_eq!(ssh.knock(&user, &[HOME]).0, 3);
    assert_eq!(ssh.knock(&user, &[HOME]).0, 3);
    assert_eq!(ssh.asked(), 4);
}

#[test]
fn of_the_agents_keys_those_of_the_configuration_come_first_or_alone() {
    let (mut user, lines) = user_with_keys(["one", "two", "three"]);
    user.agent();
    for name in ["one", "two", "three"] {
        user.add_to_agent(name);
    }
    let server = Server::start(&lines[2], &Ways::default());
    let three = user.path(".ssh/three.pub").display().to_string();
    let two = user.path(".ssh/two.pub").display().to_string();
    for (configuration, code, packets) in [
        (format!("IdentityFile {three}\n"), 0, 1),
        (format!("IdentityFile {two}\nIdentityFile {three}\n"), 0, 2),
        (format!("IdentityFile {two}\nIdentitiesOnly yes\n"), 3, 3),
    ] {
        user.store(HOME, &profile(server.port, &[]));
        let before = server.heard().len();
        let ssh = Ssh::new(&user, &configuration);
        assert_eq!(ssh.knock(&user, &[HOME]).0, code, "{configuration}");
        assert_eq!(server.heard().len() - before, packets, "{configuration}");
    }
}

#[test]
fn the_agent_of_the_configuration_signs() {
    let (mut user, [line]) = user_with_keys(["key"]);
    user.agent();
    user.add_to_agent("key");
    let server = Server::start(&line, &Ways::default());
    user.store(HOME, &profile(server.port, &[]));
    let socket = user.agent.as_ref().unwrap().0.clone();
    let knock = |ssh: &Ssh| {
        let mut command = user.command(&[HOME]);
        command.env("PATH", &ssh.path).env_remove("SSH_AUTH_SOCK");
        told(&command.output().unwrap())
    };
    let (code, _, err) = knock(&Ssh::new(&user, "IdentityAgent none\n"));
    assert_eq!(code, 4, "{err}");
    let ssh = Ssh::new(&user, &format!("IdentityAgent {socket}\n"));
    let (code, _, err) = knock(&ssh);
    assert_eq!((code, err.as_str()), (0, ""));
}

#[test]
fn without_ssh_its_defaults_count() {
    let (user, server) = pair(&Ways::default());
    let output = user.command(&[HOME]).env("PATH", "").output().unwrap();
    assert_eq!(told(&output).0, 0);
    assert_eq!(server.heard().len(), 1);
}

#[test]
fn an_ssh_that_hangs_keeps_nobody_waiting_for_long() {
    let (user, server) = pair(&Ways::default());
    let path = stand_in(&user, "ssh", "exec sleep 60");
    let begun = Instant::now();
    let output = user.command(&[HOME]).env("PATH", path).output().unwrap();
    assert_eq!(told(&output).0, 0);
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(server.heard().len(), 1);
}

#[test]
fn to_ask_ssh_knocks_at_nothing_though_its_configuration_does() {
    let (user, server) = pair(&Ways::default());
    let folder = Path::new(KNOCK).parent().unwrap().display();
    let configuration =
        format!("Match originalhost {HOME} exec \"{folder}/knock --quiet {HOME}\"\n");
    let ssh = Ssh::new(&user, &configuration);
    let (code, _, err) = ssh.knock(&user, &[HOME]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!((ssh.asked(), server.heard().len()), (1, 1));
}
