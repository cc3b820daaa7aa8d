//! A text as a QR code (ISO/IEC 18004) in the terminal.
//!
//! Two rows of modules are one line of text. Light modules are drawn, in white on black: so it is right
//! on a dark terminal even where colours are taken out.

use std::fmt::Write as _;

use fast_qr::qr::QRBuilder;
use fast_qr::{ECL, QRCode};

/// The light border that readers need, in modules (ISO/IEC 18004, 6.3.8).
const QUIET: usize = 4;

const WHITE_ON_BLACK: anstyle::Style = anstyle::Style::new()
    .fg_color(Some(anstyle::Color::Ansi(anstyle::AnsiColor::BrightWhite)))
    .bg_color(Some(anstyle::Color::Ansi(anstyle::AnsiColor::Black)));

/// The code, with its border, as lines of text; `None` if the text is too long for one (2,953 bytes).
#[must_use]
pub(super) fn draw(text: &str) -> Option<String> {
    // On a screen nothing gets smeared: the least redundancy makes the largest modules.
    let code = QRBuilder::new(text).ecl(ECL::L).build().ok()?;
    let width = code.size + 2 * QUIET;
    let mut drawing = String::new();
    for y in (0..width).step_by(2) {
        write!(drawing, "{WHITE_ON_BLACK}").ok()?;
        for x in 0..width {
            drawing.push(match (is_light(&code, x, y), is_light(&code, x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        writeln!(drawing, "{WHITE_ON_BLACK:#}").ok()?;
    }
    Some(drawing)
}

/// Whether the module there is light, as all are in the border; below it there is nothing.
fn is_light(code: &QRCode, x: usize, y: usize) -> bool {
    if y >= code.size + 2 * QUIET {
        return false;
    }
    let place = x
        .checked_sub(QUIET)
        .filter(|x| *x < code.size)
        .zip(y.checked_sub(QUIET).filter(|y| *y < code.size));
    let module = place.and_then(|(x, y)| code.data.get(y * code.size + x));
    module.is_none_or(|module| !module.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader of somebody else's sees on the terminal.
    fn read(drawing: &str) -> String {
        let plain = anstream::adapter::strip_str(drawing).to_string();
        let lines: Vec<Vec<char>> = plain.lines().map(|line| line.chars().collect()).collect();
        let light = |x: usize, y: usize| match lines[y / 2][x] {
            '█' => true,
            '▀' => y.is_multiple_of(2),
            '▄' => !y.is_multiple_of(2),
            _ => false,
        };
        let (width, height) = (lines[0].len(), lines.len() * 2);
        const SCALE: usize = 4;
        let grey = |x: usize, y: usize| if light(x / SCALE, y / SCALE) { 255 } else { 0 };
        let mut image =
            rqrr::PreparedImage::prepare_from_greyscale(width * SCALE, height * SCALE, grey);
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1);
        grids[0].decode().unwrap().1
    }

    #[test]
    fn a_reader_reads_what_was_drawn() {
        for length in [1, 50, 300, 700] {
            let text: String = ('!'..'~').cycle().take(length).collect();
            assert_eq!(read(&draw(&text).unwrap()), text, "{length}");
        }
    }

    #[test]
    fn a_profile_fits_a_terminal_of_80_columns() {
        let text = "x".repeat(360);
        let drawing = draw(&text).unwrap();
        let line = anstream::adapter::strip_str(drawing.lines().next().unwrap()).to_string();
        assert!(line.chars().count() <= 80);
        assert_eq!(draw(&"x".repeat(3_000)), None);
    }
}
