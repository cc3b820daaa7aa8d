//! A server with a daemon, and clients with keys.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ed25519_dalek::{Signer, SigningKey};
use knock_spa::ssh::{PublicKey, Signature};
use knock_spa::{
    DoorName, Draft, KeyId, Outcome as Answer, Pending, Profile, Purpose, Reply, Request,
    ServerPublic, SiteKey, Suite, UnixMillis,
};
use knockd::lab::{Host, Process};
use knockd::spa::SystemRng;
use knockd::spa::base64::{decode, encode};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::Outcome;

pub(crate) const KNOCKD: &str = env!("CARGO_BIN_EXE_knockd");

const PATIENCE: Duration = Duration::from_secs(20);
/// How long we wait for what should not come.
const DOUBT: Duration = Duration::from_millis(400);

pub(crate) const CLIENT: &str = "10.77.0.1";
pub(crate) const OTHER: &str = "10.77.0.3";
pub(crate) const SERVER: &str = "10.77.0.2";
pub(crate) const CLIENT_6: &str = "fd77::1";
pub(crate) const SERVER_6: &str = "fd77::2";

pub(crate) struct Net {
    pub(crate) client: Host,
    pub(crate) server: Host,
    folder: TempDir,
    _services: Vec<TcpListener>,
}

impl Net {
    /// With this configuration; `%K%` is the file of keys, which has Alice's.
    pub(crate) fn new(doors: &str) -> Outcome<Self> {
        let (client, server) = (Host::new("client")?, Host::new("server")?);
        client.connect("client0", &server, "server0")?;
        for address in ["10.77.0.1/24", "10.77.0.3/24", "fd77::1/64"] {
            client.add_address("client0", address)?;
        }
        for address in ["10.77.0.2/24", "fd77::2/64"] {
            server.add_address("server0", address)?;
        }
        let services = server.run(|| {
            let bind = |port: u16| TcpListener::bind(("::", port));
            Ok::<_, std::io::Error>(vec![bind(22)?, bind(80)?])
        })??;
        let net = Self {
            client,
            server,
            folder: tempfile::tempdir()?,
            _services: services,
        };
        let keys = net.path("keys");
        net.write("keys", &line(&alice(), "alice@laptop"))?;
        let state = net.path("state");
        let options = format!(
            "[options]\ninterface = server0\nstate_dir = {0}\njournal = {0}/journal\n",
            state.display()
        );
        fs::create_dir(&state)?;
        let doors = doors.replace("%K%", &keys.display().to_string());
        net.write("knockd.conf", &(options + &doors))?;
        Ok(net)
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub(crate) fn write(&self, file: &str, text: &str) -> Outcome {
        Ok(fs::write(self.path(file), text)?)
    }

    /// Adds these doors to the configuration.
    pub(crate) fn add_doors(&self, doors: &str) -> Outcome {
        let doors = doors.replace("%K%", &self.path("keys").display().to_string());
        let before = fs::read_to_string(self.path("knockd.conf"))?;
        self.write("knockd.conf", &(before + &doors))
    }

    /// Adds a line to `[options]`.
    pub(crate) fn set_option(&self, line: &str) -> Outcome {
        let before = fs::read_to_string(self.path("knockd.conf"))?;
        let with = before.replacen("[options]\n", &format!("[options]\n{line}\n"), 1);
        self.write("knockd.conf", &with)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(crate) fn start(&self) -> Outcome<Process> {
        self.start_by(&[])
    }

    /// By another program that becomes it (unshare(1), setpriv(1)).
    pub(crate) fn start_by(&self, by: &[&str]) -> Outcome<Process> {
        let before = self.log().matches("starting up").count();
        let mut words = by.iter().copied().chain([KNOCKD]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command
            .args(words)
            .args(["-c", "knockd.conf", "-g", "log"])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.path("stderr"))?);
        let process = self.server.spawn(&mut command)?;
        self.eventually("the daemon is up", || {
            self.log().matches("starting up").count() > before
        })?;
        Ok(process)
    }

    pub(crate) fn eventually(&self, what: &str, condition: impl Fn() -> bool) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            if Instant::now() > deadline {
                let said = fs::read_to_string(self.path("stderr")).unwrap_or_default();
                return Err(format!("not: {what}\n{}{said}", self.log()).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub(crate) fn await_log(&self, text: &str) -> Outcome {
        self.eventually(&format!("{text:?} in the log"), || {
            self.log().contains(text)
        })
    }

    pub(crate) fn signal(&self, process: &Process, signal: Signal) -> Outcome {
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.ok_or("no process id")?, signal)?)
    }

    /// What `knockctl` prints, run with these arguments and this configuration.
    pub(crate) fn knockctl(&self, args: &[&str]) -> Outcome<String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_knockctl"));
        command.args(args).arg("-c").arg(self.path("knockd.conf"));
        let output = self.server.run(|| command.output())??;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What `knockctl profile` says.
    pub(crate) fn profile(&self) -> Outcome<Profile> {
        let profile: serde_json::Value = serde_json::from_str(&self.knockctl(&["profile"])?)?;
        let key = |name: &str| -> Option<[u8; 32]> {
            decode(profile.get(name)?.as_str()?)?.try_into().ok()
        };
        Ok(Profile {
            server: ServerPublic(key("server").ok_or("no server key")?),
            site: SiteKey::from_bytes(key("site").ok_or("no site key")?),
        })
    }

    /// Whether a TCP port can be reached.
    pub(crate) fn reaches(&self, from: &str, to: &str, port: u16) -> Outcome<bool> {
        let (from, to): (IpAddr, IpAddr) = (from.parse()?, to.parse()?);
        let connected = self.client.run(|| {
            let domain = socket2::Domain::for_address(SocketAddr::new(to, port));
            let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
            socket.bind(&SocketAddr::new(from, 0).into())?;
            socket.connect_timeout(&SocketAddr::new(to, port).into(), DOUBT)?;
            Ok::<TcpStream, std::io::Error>(socket.into())
        })?;
        Ok(connected.is_ok())
    }

    pub(crate) fn socket(&self, from: &str) -> Outcome<UdpSocket> {
        let socket = self.client.run(|| UdpSocket::bind((from, 0)))??;
        socket.set_read_timeout(Some(DOUBT))?;
        Ok(socket)
    }

    /// Knocks and gives the answer that comes.
    pub(crate) fn knock(&self, from: &str, wish: &Wish) -> Outcome<Reply> {
        self.ask(from, &wish.seal(&self.profile()?)?)
    }

    /// Sends this, and gives the answer that comes.
    pub(crate) fn ask(&self, from: &str, sealed: &(Vec<u8>, Pending)) -> Outcome<Reply> {
        let (datagram, pending) = sealed;
        let socket = self.socket(from)?;
        send(&socket, from, datagram)?;
        let answer = answer(&socket)?.ok_or_else(|| format!("no answer\n{}", self.log()))?;
        Ok(pending.open(&answer)?)
    }
}

pub(crate) fn send(socket: &UdpSocket, from: &str, datagram: &[u8]) -> Outcome {
    let to = if from == CLIENT_6 { SERVER_6 } else { SERVER };
    socket.send_to(datagram, (to, 51_443))?;
    Ok(())
}

/// What should come: also behind a flood, and without optimization.
pub(crate) fn answer(socket: &UdpSocket) -> Outcome<Option<Vec<u8>>> {
    socket.set_read_timeout(Some(DOUBT * 10))?;
    let answer = receive(socket);
    socket.set_read_timeout(Some(DOUBT))?;
    answer
}

/// What comes, from the port that was knocked at.
pub(crate) fn receive(socket: &UdpSocket) -> Outcome<Option<Vec<u8>>> {
    let mut bytes = [0; 2048];
    match socket.recv_from(&mut bytes) {
        Ok((length, from)) => {
            assert_eq!(from.port(), 51_443);
            Ok(Some(bytes.iter().take(length).copied().collect()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What a client asks for.
#[derive(Clone)]
pub(crate) struct Wish {
    pub(crate) key: SigningKey,
    /// The key that it says it is by, if that is another.
    pub(crate) named: Option<KeyId>,
    pub(crate) door: &'static str,
    pub(crate) purpose: Purpose,
    pub(crate) open_for: Option<u32>,
    pub(crate) claimed: Option<&'static str>,
    /// Of the clock, in milliseconds.
    pub(crate) off: i64,
}

impl Wish {
    pub(crate) fn of(key: SigningKey, door: &'static str) -> Self {
        Self {
            key,
            named: None,
            door,
            purpose: Purpose::Open,
            open_for: None,
            claimed: None,
            off: 0,
        }
    }

    pub(crate) fn seal(&self, profile: &Profile) -> Outcome<(Vec<u8>, Pending)> {
        self.seal_by(&self.key, profile)
    }

    /// With the signature that `sign` makes of what is to be signed.
    pub(crate) fn seal_with(
        &self,
        profile: &Profile,
        sign: impl Fn(&[u8]) -> [u8; 64],
    ) -> Outcome<(Vec<u8>, Pending)> {
        let key = &self.key;
        self.seal_by(&Otherwise { key, sign }, profile)
    }

    /// Signed by another key than ours.
    pub(crate) fn seal_by(
        &self,
        signer: &dyn Signs,
        profile: &Profile,
    ) -> Outcome<(Vec<u8>, Pending)> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let claimed = self.claimed.map(str::parse).transpose()?;
        let request = Request {
            suite: Suite::X25519,
            purpose: self.purpose,
            time: UnixMillis(u64::try_from(now)?.saturating_add_signed(self.off)),
            key: match self.named {
                Some(named) => named,
                None => signer.public()?.id(),
            },
            door: DoorName::new(self.door)?,
            open_for: self.open_for.and_then(NonZeroU32::new),
            claimed,
        };
        let draft = Draft::new(profile, request, &mut SystemRng)?;
        let signature = signer.sign_draft(&draft)?;
        Ok(draft.seal(signature, signer.certificate()?.as_deref())?)
    }
}

/// What signs requests.
pub(crate) trait Signs {
    fn public(&self) -> Outcome<PublicKey>;

    fn sign_draft(&self, draft: &Draft) -> Outcome<Signature>;

    fn certificate(&self) -> Outcome<Option<Vec<u8>>> {
        Ok(None)
    }
}

impl Signs for SigningKey {
    fn public(&self) -> Outcome<PublicKey> {
        public(&blob(self))
    }

    fn sign_draft(&self, draft: &Draft) -> Outcome<Signature> {
        let mut blob = Vec::new();
        put(&mut blob, b"ssh-ed25519");
        put(&mut blob, &self.sign(&draft.to_sign()).to_bytes());
        signature(&blob)
    }
}

/// A key whose signatures something else makes.
struct Otherwise<'a, F> {
    key: &'a SigningKey,
    sign: F,
}

impl<F: Fn(&[u8]) -> [u8; 64]> Signs for Otherwise<'_, F> {
    fn public(&self) -> Outcome<PublicKey> {
        self.key.public()
    }

    fn sign_draft(&self, draft: &Draft) -> Outcome<Signature> {
        let mut blob = Vec::new();
        put(&mut blob, b"ssh-ed25519");
        put(&mut blob, &(self.sign)(&draft.to_sign()));
        signature(&blob)
    }
}

/// Of the bytes that an agent gives.
pub(crate) fn signature(blob: &[u8]) -> Outcome<Signature> {
    Ok(Signature::from_agent(blob).map_err(|error| error.to_string())?)
}

pub(crate) fn public(blob: &[u8]) -> Outcome<PublicKey> {
    Ok(PublicKey::from_blob(blob).map_err(|error| error.to_string())?)
}

pub(crate) fn opened(reply: &Reply) -> Outcome<(Option<UnixMillis>, String)> {
    match &reply.outcome {
        Answer::Opened { until, what } => Ok((*until, what.as_str().to_owned())),
        other => Err(format!("{other:?}").into()),
    }
}

pub(crate) fn alice() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// The name of a key, as packets have it.
pub(crate) fn id(key: &SigningKey) -> Outcome<KeyId> {
    Ok(key.public()?.id())
}

pub(crate) fn mallory() -> SigningKey {
    SigningKey::from_bytes(&[66; 32])
}

pub(crate) fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(u32::try_from(bytes.len()).unwrap_or(0).to_be_bytes());
    to.extend(bytes);
}

fn blob(key: &SigningKey) -> Vec<u8> {
    let mut blob = Vec::new();
    put(&mut blob, b"ssh-ed25519");
    put(&mut blob, key.verifying_key().as_bytes());
    blob
}

/// A line of `authorized_keys`.
pub(crate) fn line(key: &SigningKey, comment: &str) -> String {
    format!("ssh-ed25519 {} {comment}\n", encode(&blob(key)))
}
