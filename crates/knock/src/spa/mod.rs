//! Single-packet authorization: one sealed and signed packet, and its answer.
//!
//! | module | what |
//! |---|---|
//! | [`profile`] | what is known of a host: a file of this user's |
//! | [`agent`] | ssh-agent's protocol |
//! | [`keys`] | the keys that may sign, and how they do |
//! | [`own`] | which of our addresses are public |
//! | [`way`] | a socket to the host, of one family |
//! | [`exchange`] | ask on all ways, until there is an answer |
//! | [`report`] | what came of it, as a line, as JSON, as an exit code |
//! | [`knock`](mod@knock) | all of these, for one command line |
//! | [`connect`] | pass bytes: ssh's `ProxyCommand` |
//! | [`enroll`] | fetch a profile over ssh |
//! | [`ssh_config`] | lines for `~/.ssh/config` |
//! | [`ssh_settings`] | what ssh's configuration says: names, keys, agent |
//! | [`doctor`] | what is well, what is not, and what to do |

pub mod agent;
mod clock;
pub mod connect;
pub mod doctor;
pub mod enroll;
pub mod exchange;
pub mod keys;
pub mod knock;
pub mod own;
pub mod profile;
pub mod report;
pub mod ssh_config;
pub mod ssh_settings;
pub(crate) mod utc;
pub mod way;
