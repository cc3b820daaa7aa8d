//! What things in the table are called, and the comments on them.

use knock_core::target::Target;
use netlink_packet_netfilter::nftables::{ChainAttribute, ChainMessage};
use netlink_packet_netfilter::nftables::{SetAttribute, SetMessage};
use netlink_packet_netfilter::nftables::{TableAttribute, TableMessage};

use super::plan::tag;

/// The table, of the family `inet`.
pub(super) const TABLE: &str = "postern";

/// The base chain.
pub(super) const BASE: &str = "prerouting";

/// The chain that a packet goes to for which there is a grant.
pub(super) const ADMIT: &str = "admit";

/// The longest comment, with its closing zero (`NFTNL_UDATA_COMMENT_MAXLEN` of libnftnl).
const MAX_COMMENT: usize = 128;

/// The chain that looks for grants.
pub(super) fn grants_chain(targets: &[Target]) -> String {
    format!("grants{}", tag(targets))
}

/// The chain that drops what is guarded.
pub(super) fn guard_chain(targets: &[Target]) -> String {
    format!("guard{}", tag(targets))
}

/// The set of ports that are guarded.
pub(super) fn guarded_set(targets: &[Target]) -> String {
    format!("guarded{}", tag(targets))
}

/// The set of protocols whose echo requests are guarded.
pub(super) fn guarded_ping_set(targets: &[Target]) -> String {
    format!("guarded_ping{}", tag(targets))
}

/// User data as nft keeps it: a kind, a length, a text that ends with a zero byte.
pub(super) fn comment(kind: u8, text: &str) -> Vec<u8> {
    let mut end = text.len().min(MAX_COMMENT - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = text.get(..end).unwrap_or_default();
    let length = u8::try_from(end + 1).unwrap_or(u8::MAX);
    let mut bytes = vec![kind, length];
    bytes.extend(text.bytes().map(|byte| if byte == 0 { b' ' } else { byte }));
    bytes.push(0);
    bytes
}

/// The text of [`comment`].
pub(super) fn read_comment(kind: u8, mut bytes: &[u8]) -> Option<String> {
    while let [this, length, rest @ ..] = bytes {
        let (value, next) = rest.split_at_checked(usize::from(*length))?;
        if *this == kind {
            let text = value.strip_suffix(&[0]).unwrap_or(value);
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        bytes = next;
    }
    None
}

/// A message that names the table.
pub(super) fn table() -> TableMessage {
    TableMessage {
        attributes: vec![TableAttribute::Name(TABLE.to_owned())],
    }
}

/// A message that names a chain.
pub(super) fn chain(name: &str) -> ChainMessage {
    ChainMessage {
        attributes: vec![
            ChainAttribute::Table(TABLE.to_owned()),
            ChainAttribute::Name(name.to_owned()),
        ],
    }
}

/// A message that names a set.
pub(super) fn set(name: &str) -> SetMessage {
    SetMessage {
        attributes: vec![
            SetAttribute::Table(TABLE.to_owned()),
            SetAttribute::Name(name.to_owned()),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_read_as_it_was_written() {
        assert_eq!(read_comment(7, &comment(7, "ssh")), Some("ssh".to_owned()));
        assert_eq!(read_comment(0, &comment(7, "ssh")), None);
        let both = [comment(7, "a"), comment(0, "b")].concat();
        assert_eq!(read_comment(0, &both), Some("b".to_owned()));
    }

    #[test]
    fn a_long_comment_ends_between_two_letters() {
        let bytes = comment(0, &"é".repeat(100));
        assert_eq!(bytes.len(), 2 + 126 + 1);
        assert_eq!(read_comment(0, &bytes), Some("é".repeat(63)));
    }

    #[test]
    fn nonsense_is_no_comment() {
        for bytes in [&[][..], &[0], &[0, 9, b'x'], &[1, 0, 0]] {
            assert_eq!(read_comment(0, bytes), None);
        }
    }
}
