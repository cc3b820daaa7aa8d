//! The value of `open_to`: for whom besides who knocked a door opens.

use alloc::format;
use alloc::string::String;

use super::keys::Shape;
use super::report::Report;
use super::text::Text;
use crate::door::Widening;

const MAX_V4: u8 = 32;
const MAX_V6: u8 = 128;

/// Reads `/24`, `/64` or both. The number tells the family: up to 32 it is IPv4's. An IPv6 prefix
/// as short as that would be the network of a provider's provider.
pub(super) fn widening(value: Text<'_>, report: &mut Report) -> Option<Widening> {
    let (mut v4, mut v6) = (None, None);
    let mut complete = true;
    for element in value.elements() {
        let Some(bits) = prefix(element, report) else {
            complete = false;
            continue;
        };
        let (family, place) = if bits <= MAX_V4 {
            ("IPv4", &mut v4)
        } else {
            ("IPv6", &mut v6)
        };
        if place.replace(bits).is_some() {
            complete = false;
            report.error(
                element.span(),
                format!("{family} has two prefixes"),
                "at most one prefix for each family",
                "up to /32 it is for IPv4, from /33 on for IPv6",
            );
        }
    }
    let alone = Widening::default();
    let widening = Widening {
        v4: v4.unwrap_or(alone.v4),
        v6: v6.unwrap_or(alone.v6),
    };
    Some(widening).filter(|_| complete)
}

fn prefix(element: Text<'_>, report: &mut Report) -> Option<u8> {
    let text = element.str;
    let expected = Shape::Prefixes.expected();
    let mut wrong = |message: String, help: Option<String>| {
        report.error(element.span(), message, expected, help);
    };
    if text.is_empty() {
        wrong("a prefix is missing".into(), None);
        return None;
    }
    let (before, number) = element
        .split_once('/')
        .map_or((None, element), |(a, b)| (Some(a), b));
    let number = number.trim().str;
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let bits = number.parse::<u8>().ok().filter(|bits| *bits <= MAX_V6);
    match (before.map(|b| b.trim().str), bits.filter(|_| digits)) {
        (Some(""), Some(0)) => {
            let help = "without `open_to` the door opens for who knocked alone";
            wrong("/0 is everybody".into(), Some(help.into()));
            return None;
        }
        (Some(""), Some(bits)) => return Some(bits),
        (Some(""), None) if digits => {
            wrong(format!("there is no prefix {text}"), None);
        }
        (Some(address), Some(bits)) if bits > 0 && !address.is_empty() => {
            let help = format!("write /{bits}; the address is that of who knocked");
            wrong(format!("`{text}` is no prefix"), Some(help));
        }
        (None, Some(bits)) if bits > 0 => {
            wrong(
                format!("`{text}` is no prefix"),
                Some(format!("write /{bits}")),
            );
        }
        _ => {
            let help = mask(text).map(|bits| format!("write /{bits}"));
            wrong(format!("`{text}` is no prefix"), help);
        }
    }
    None
}

/// The length of a netmask such as `255.255.255.0`.
fn mask(text: &str) -> Option<u32> {
    let mask = text.parse::<core::net::Ipv4Addr>().ok()?.to_bits();
    (mask != 0 && mask.leading_ones() == mask.count_ones()).then(|| mask.leading_ones())
}
