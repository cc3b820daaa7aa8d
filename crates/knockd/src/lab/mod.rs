//! Throw-away networks for `knockctl try` and for tests: hosts that are network namespaces, joined
//! by virtual cables, without an external program and without a name that could stay behind.
//!
//! ```no_run
//! use knockd::lab::{self, Host};
//!
//! fn main() -> Result<(), lab::LabError> {
//!     lab::isolate(lab::Identity::RootIfNeeded)?; // first thing in main, before any thread
//!     let client = Host::new("client")?;
//!     let server = Host::new("server")?;
//!     client.connect("eth0", &server, "server0")?;
//!     client.add_address("eth0", "10.77.0.1/24")?;
//!     server.add_address("server0", "10.77.0.2/24")?;
//!     let mut nft = std::process::Command::new("nft");
//!     let _rules = server.spawn(nft.args(["add", "table", "inet", "filter"]))?;
//!     let _reply = client.run(|| std::net::TcpStream::connect("10.77.0.2:22"))?;
//!     Ok(())
//! }
//! ```
//!
//! Promises: after [`isolate()`] the process and all its children have no way to the machine's own
//! network; nothing stays behind however the process ends, also when it is killed, because all
//! of them live in a process namespace that dies with it. Without [`isolate()`] (only as root) hosts
//! still vanish when they and the processes in them are dropped, but not if the process is killed.

mod error;
mod file_system;
mod host;
mod isolate;
mod process;
mod route;

pub use error::LabError;
pub use file_system::{own_state, protect_file_system};
pub use host::Host;
pub use isolate::{Identity, isolate};
pub use process::Process;
