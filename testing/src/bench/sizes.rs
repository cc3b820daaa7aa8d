//! How large the programs are.

use std::fs;
use std::path::Path;

use super::report::Figure;
use super::{Line, Programs};
use crate::Result;

const MEGABYTE: f64 = 1e6;

/// The programs as they are shipped, which is stripped.
pub(super) fn run(programs: &Programs) -> Result<Vec<Line>> {
    let theirs = size(&programs.theirs)?;
    Ok(vec![
        Line::new("size of knock", " MB", size(&programs.knock)?).at_most(2.0),
        Line::new("size of knockd", " MB", size(&programs.knockd)?)
            .at_most(6.0)
            .note(format!(
                "theirs {:.2} MB and the libraries that it loads",
                theirs.value
            )),
    ])
}

fn size(path: &Path) -> Result<Figure> {
    let bytes = u32::try_from(fs::metadata(path)?.len())?;
    Ok(Figure::single(f64::from(bytes) / MEGABYTE))
}
