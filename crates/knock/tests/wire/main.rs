//! What really leaves the client, seen on the wire between two throw-away hosts; side by side
//! with the original where it is installed.

#[cfg(target_os = "linux")]
mod cases;
#[cfg(target_os = "linux")]
mod daemon;
#[cfg(target_os = "linux")]
mod net;
#[cfg(target_os = "linux")]
mod shapes;
#[cfg(target_os = "linux")]
mod waits;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    cases::run()
}

#[cfg(not(target_os = "linux"))]
fn main() {}
