use crate::Case;
pub(crate) const CASES: &[(&str, Case)] = &[];
