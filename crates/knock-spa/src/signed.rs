//! What a knock's signature is over: this server, this packet, this request.

use alloc::vec::Vec;

use crate::request::RequestBytes;
use crate::secret::{Enc, ServerPublic};

/// The message: 1 + 32 + 32 + 80 bytes. The first byte is the suite's number, as in the request.
pub(crate) fn message(server: &ServerPublic, enc: &Enc, request: &RequestBytes) -> Vec<u8> {
    let mut out = Vec::with_capacity(145);
    out.extend(request.first());
    out.extend(server.0);
    out.extend(enc);
    out.extend(request);
    out
}
