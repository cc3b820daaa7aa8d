//! Any bytes are a request, reply, block, signature, key, certificate or message, or have a reason
//! why not, and what is read is written the same.
#![no_main]

use knock_spa::block::Block;
use knock_spa::code::Code;
use knock_spa::ssh::{Certificate, PublicKey, Signature, sshsig};
use knock_spa::{Reply, Request, Unsealed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((what, data)) = data.split_first() else {
        return;
    };
    match what % 8 {
        0 => {
            if let Some((bytes, _)) = data.split_first_chunk()
                && let Ok(request) = Request::from_bytes(bytes)
            {
                assert_eq!(request.to_bytes(), *bytes);
            }
        }
        1 => drop(Reply::from_plain(data)),
        2 => {
            if let Ok(block) = Block::from_bytes(data)
                && let Ok(bytes) = block.to_bytes()
            {
                assert!(data.starts_with(&bytes));
            }
        }
        3 => drop(Signature::from_agent(data)),
        4 => {
            if let Ok(key) = PublicKey::from_blob(data) {
                assert_eq!(key.blob(), data);
            }
        }
        5 => {
            if let Ok(certificate) = Certificate::from_blob(data) {
                assert!(data.len() <= Certificate::MAX);
                let own = PublicKey::from_blob(certificate.authority());
                let _ = own.map(|own| certificate.is_signed_by(&own));
            }
        }
        6 => {
            if let Some(message) = Unsealed::from_bytes(data) {
                assert_eq!(message.to_bytes(), data);
            }
        }
        _ => {
            if let Some(code) = Code::parse(data) {
                let again = Code::parse(code.reveal().as_bytes());
                assert_eq!(again.map(|again| again.reveal()), Some(code.reveal()));
            }
            let _ = std::str::from_utf8(data).map(sshsig::from_armored);
        }
    }
});
