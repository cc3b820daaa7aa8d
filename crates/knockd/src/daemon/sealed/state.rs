//! What sealed packets need of `state_dir`. A shadow only looks at it.

use std::path::{Path, PathBuf};

use super::{Failure, now_millis};
use crate::daemon::settings::Settings;
use crate::spa::marks::Marks;
use crate::spa::store::{Store, StoreError};

/// The files that are read and written besides those of people.
pub(in crate::daemon) fn files(folder: &Path) -> [PathBuf; 4] {
    use crate::spa::{codes, marks, store};
    [store::FILE, marks::FILE, codes::FILE, codes::SPENT_FILE].map(|file| folder.join(file))
}

/// The keys of the site, new ones if there are none, and whether they are new. A shadow makes none.
pub(super) fn keys(settings: &Settings) -> Result<Option<(Store, bool)>, StoreError> {
    let folder = &settings.state_dir;
    if settings.shadow {
        return Ok(Store::load(folder)?.map(|store| (store, false)));
    }
    Store::load_or_make(folder).map(Some)
}

/// What was accepted before, and whether some of that is lost. A shadow only looks at it.
pub(super) fn marks(settings: &Settings) -> Result<(Marks, bool), Failure> {
    let open = if settings.shadow {
        Marks::look
    } else {
        Marks::open
    };
    let folder = &settings.state_dir;
    let marks = open(folder, settings.spa_window, now_millis());
    marks.map_err(|error| Failure::Marks(folder.clone(), error))
}
