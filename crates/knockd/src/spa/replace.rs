//! Files that are replaced whole: either the one before is there or the new one, whatever happens
//! meanwhile.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Makes the folder that is to hold a secret, for its owner alone, if it is not there.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Puts `bytes` in the place of the file `name` in `folder`, mode 0600. When this returns, they are on
/// the disk. The file can be written further.
pub(super) fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<File> {
    make_folder(folder)?;
    replace_in(folder, name, bytes)
}

/// As [`replace`], in a folder that must be there.
pub(super) fn replace_in(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<File> {
    let path = folder.join(name);
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()?;
    Ok(file)
}
