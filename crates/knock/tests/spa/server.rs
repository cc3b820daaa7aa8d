//! A server in this process, which verifies as the keeper does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64ct::{Base64, Encoding};
use getrandom::SysRng;
use knock_spa::rand_core::UnwrapErr;
use knock_spa::reply::What;
use knock_spa::{
    Circumstances, CookieKey, Decision, DoorRule, Epoch, EpochNumber, KeyRing, Outcome, Purpose,
    Reply, Request, Revoked, ServerKey, Servers, Site, SiteKey, UnixMillis, Unsealed, Window,
    verify,
};

/// How a server differs from one that answers each good request.
#[derive(Clone, Default)]
pub(crate) struct Ways {
    /// So many datagrams are lost first.
    pub(crate) lose: usize,
    /// What strangers send comes before each answer.
    pub(crate) junk: bool,
    /// Its clock is so many milliseconds ahead.
    pub(crate) ahead: i64,
    /// `confirm = yes`
    pub(crate) confirm: bool,
    /// The TCP port that is open after a knock, and then only.
    pub(crate) gate: Option<u16>,
    /// Whatever comes is sent back.
    pub(crate) echo: bool,
    /// The address that it says it sees, as behind address translation.
    pub(crate) sees: Option<IpAddr>,
    /// Whatever comes over IPv6 is lost.
    pub(crate) deaf_v6: bool,
}

pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) heard: Arc<Mutex<Vec<Vec<u8>>>>,
    pub(crate) asked: Arc<Mutex<Vec<Request>>>,
    pub(crate) alive: Arc<AtomicBool>,
    pub(crate) threads: Vec<JoinHandle<()>>,
}

pub(crate) fn epoch() -> Epoch {
    Epoch {
        number: EpochNumber(1),
        server: ServerKey::from_bytes([7; 32]),
        site: SiteKey::from_bytes([8; 32]),
    }
}

pub(crate) fn profile(port: u16, addresses: &[IpAddr]) -> String {
    let Epoch { server, site, .. } = epoch();
    let addresses: Vec<_> = addresses.iter().map(|ip| format!("\"{ip}\"")).collect();
    format!(
        r#"{{"version":1,"addresses":[{}],"port":{port},"epoch":1,"server":"{}","site":"{}","doors":["ssh","web"]}}"#,
        addresses.join(","),
        Base64::encode_string(&server.public().0),
        Base64::encode_string(site.expose()),
    )
}

impl Server {
    /// At both loopback addresses, for the keys of these lines.
    pub(crate) fn start(authorized: &str, ways: &Ways) -> Self {
        let (v4, v6) = loop {
            let v4 = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = v4.local_addr().unwrap().port();
            if let Ok(v6) = UdpSocket::bind((Ipv6Addr::LOCALHOST, port)) {
                break (v4, v6);
            }
        };
        let read = knock_spa::keys::read(authorized.as_bytes(), 0, &|_| None);
        assert!(read.mistakes.is_empty(), "{:?}", read.mistakes);
        let mut server = Self {
            port: v4.local_addr().unwrap().port(),
            heard: Arc::default(),
            asked: Arc::default(),
            alive: Arc::new(AtomicBool::new(true)),
            threads: Vec::new(),
        };
        let ring = Arc::new(KeyRing::new(read.keys, Revoked::default()));
        let window = Window::new(Duration::from_secs(60), UnixMillis(0));
        let window = Arc::new(Mutex::new(window));
        for socket in [v4, v6] {
            socket
                .set_read_timeout(Some(Duration::from_millis(20)))
                .unwrap();
            let (ring, window, ways) = (ring.clone(), window.clone(), ways.clone());
            let (heard, asked) = (server.heard.clone(), server.asked.clone());
            let alive = server.alive.clone();
            let serve = move || serve(&socket, &ring, &window, ways, &heard, &asked, &alive);
            server.threads.push(thread::spawn(serve));
        }
        server
    }

    pub(crate) fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap().clone()
    }

    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.alive.store(false, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

pub(crate) fn serve(
    socket: &UdpSocket,
    ring: &KeyRing,
    window: &Mutex<Window>,
    mut ways: Ways,
    heard: &Mutex<Vec<Vec<u8>>>,
    asked: &Mutex<Vec<Request>>,
    alive: &AtomicBool,
) {
    let rng = &mut UnwrapErr(SysRng);
    let (site, cookies) = (Site::new(&epoch(), None), CookieKey::generate(rng));
    let servers = Servers {
        current: (EpochNumber(1), epoch().server.public()),
        previous: None,
    };
    let mut buffer = [0; 2048];
    let mut service = None;
    while alive.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let datagram = &buffer[..length];
        if ways.echo {
            socket.send_to(datagram, from).unwrap();
        }
        heard.lock().unwrap().push(datagram.to_vec());
        if ways.deaf_v6 && from.is_ipv6() {
            continue;
        }
        if ways.lose > 0 {
            ways.lose -= 1;
            continue;
        }
        let Some(admitted) = site.admit(datagram) else {
            continue;
        };
        let unsealed = Site::unseal(&admitted).unwrap();
        let time = UnixMillis(now().saturating_add_signed(ways.ahead));
        let here = Circumstances {
            source: from.ip(),
            now: time,
            door: Some(DoorRule {
                confirm: ways.confirm,
            }),
            cookies: &cookies,
        };
        let mut window = window.lock().unwrap();
        let until = |request: &Request| {
            let seconds = request.open_for.map_or(30, u32::from);
            Some(UnixMillis(time.0 + u64::from(seconds) * 1000))
        };
        let outcome = match &unsealed {
            Unsealed::Request(request) => match verify(request, &servers, ring) {
                Err(_) => continue,
                Ok(knock) => {
                    let request = knock.request().clone();
                    let decision = knock.judge(&here, &mut window);
                    let what = What::new(&format!("tcp/{}", ways.gate.unwrap_or(22)));
                    let until = until(&request);
                    let outcome = match (decision, request.purpose) {
                        (Decision::Refused(why), _) => Outcome::Refused(why),
                        (Decision::Confirm(cookie), _) => Outcome::Confirm(cookie),
                        (_, Purpose::Open) => Outcome::Opened { until, what },
                        (_, Purpose::Close) => Outcome::Closed,
                        (_, Purpose::Ask) => Outcome::WouldOpen { until, what },
                    };
                    match (request.purpose, ways.gate) {
                        (Purpose::Open, Some(port)) => {
                            let at = (socket.local_addr().unwrap().ip(), port);
                            service = service.or_else(|| TcpListener::bind(at).ok());
                        }
                        (Purpose::Close, _) => service = None,
                        _ => {}
                    }
                    asked.lock().unwrap().push(request);
                    outcome
                }
            },
            Unsealed::Confirmation(confirmation) => {
                let confirmed = confirmation.verify(&cookies).unwrap();
                match confirmed.judge(&here, &mut window) {
                    Err(why) => Outcome::Refused(why),
                    Ok(_) => Outcome::Opened {
                        until: until(confirmed.request()),
                        what: What::new("tcp/22"),
                    },
                }
            }
        };
        let reply = Reply {
            time,
            seen: ways.sees.unwrap_or_else(|| from.ip()),
            outcome,
        };
        let reply = reply.seal(unsealed.channel(), rng);
        if ways.junk {
            let mut flipped = reply;
            flipped[80] ^= 1;
            for junk in [&b""[..], &[0; 160], &flipped, &reply[1..], datagram] {
                socket.send_to(junk, from).unwrap();
            }
        }
        socket.send_to(&reply, from).unwrap();
    }
}
