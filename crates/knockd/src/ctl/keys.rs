//! `knockctl keys`: the site's own keys, which open sealed packets.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::gate::{File, finish};
use crate::spa::base64::encode;
use crate::spa::store::{FILE, Store, StoreError};

/// The command line of `knockctl keys`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make the first keys, if there are none
    Init(File),
    /// Make new keys; those of now are taken too until the next rotation
    Rotate(File),
    /// Show which keys there are, without their secrets
    Show(File),
}

/// Runs `knockctl keys`; exits with 1 if it could not be done.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    finish(match &options.what {
        What::Init(file) => init(file),
        What::Rotate(file) => rotate(file),
        What::Show(file) => show(file),
    })
}

fn init(file: &File) -> Result<String, String> {
    let folder = folder(file)?;
    if load(&folder)?.is_some() {
        return Err(StoreError::Exists(folder.join(FILE)).to_string());
    }
    let store = Store::generate();
    store.save(&folder).map_err(|error| error.to_string())?;
    Ok(listed(&store))
}

fn rotate(file: &File) -> Result<String, String> {
    let folder = folder(file)?;
    let store = existing(&folder)?.rotated();
    store.save(&folder).map_err(|error| error.to_string())?;
    let list = listed(&store);
    Ok(format!(
        "{list}knockd takes them after a reload (SIGHUP); then clients enrol again"
    ))
}

fn show(file: &File) -> Result<String, String> {
    Ok(listed(&existing(&folder(file)?)?))
}

fn listed(store: &Store) -> String {
    let epochs = [Some(&store.current), store.previous.as_ref()];
    let line = |(what, epoch): (&str, &knock_spa::Epoch)| {
        let public = encode(&epoch.server.public().0);
        format!("epoch {} ({what}): server {public}\n", epoch.number.0)
    };
    let named = ["current", "previous"].into_iter().zip(epochs);
    named
        .filter_map(|(what, epoch)| Some(line((what, epoch?))))
        .collect()
}

/// Where the keys are, by the configuration.
pub(super) fn folder(file: &File) -> Result<PathBuf, String> {
    Ok(file.load()?.loaded.config.options.state_dir.into())
}

fn load(folder: &std::path::Path) -> Result<Option<Store>, String> {
    Store::load(folder).map_err(|error| error.to_string())
}

/// The keys in a folder, which must be there.
pub(super) fn existing(folder: &std::path::Path) -> Result<Store, String> {
    load(folder)?.ok_or_else(|| StoreError::Missing(folder.join(FILE)).to_string())
}
