//! Single-packet authorization, the keeper's part: who it was, whether it is granted, and the
//! answer.
//!
//! | module | what |
//! |---|---|
//! | `store` | the site's own keys, in `spa-keys` |
//! | `people` | whose signatures count: the files of `authorized_keys` |
//! | `marks` | what was accepted, in `spa-marks`: no packet opens twice, whatever happens between |
//! | `codes` | codes on paper: which there are, and which are spent |
//! | `watch` | that some were made or revoked |
//! | `answer` | one datagram back, without a port that is open |

pub mod answer;
pub mod base64;
pub mod codes;
pub mod marks;
pub(crate) mod people;
mod replace;
pub mod store;
pub(crate) mod watch;

pub(crate) use replace::make_folder;

use knock_spa::rand_core::{TryCryptoRng, TryRng};
use rustix::rand::{GetRandomFlags, getrandom};

/// The kernel's random numbers (getrandom(2)), which do not fail once the system has begun.
#[derive(Copy, Clone, Debug)]
pub struct SystemRng;

impl TryRng for SystemRng {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// Without random numbers nothing may go on: it waits for them.
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match getrandom(rest, GetRandomFlags::empty()) {
                Ok(count) => filled += count,
                Err(_) => std::thread::yield_now(),
            }
        }
        Ok(())
    }
}

impl TryCryptoRng for SystemRng {}
