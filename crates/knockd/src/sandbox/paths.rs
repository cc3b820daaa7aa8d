//! Landlock (landlock(7)): every access to files and to the network, with nothing excepted.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, Ruleset,
    RulesetAttr, RulesetError, RulesetStatus, Scope,
};

use super::State;

/// The latest version that is asked for; an older kernel gives what it has.
const WANTED: ABI = ABI::V10;

pub(super) fn allow_none() -> State {
    match restrict() {
        Ok(state) => state,
        Err(_) => State::Missing(0),
    }
}

fn restrict() -> Result<State, RulesetError> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))?
        .handle_access(AccessNet::from_all(WANTED))?
        .scope(Scope::from_all(WANTED))?;
    let status = ruleset.create()?.restrict_self()?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::FullyEnforced, _) => State::On,
        (RulesetStatus::PartiallyEnforced, LandlockStatus::Available { effective_abi, .. }) => {
            State::Partly(number_of(effective_abi))
        }
        (RulesetStatus::PartiallyEnforced, _) => State::Partly(0),
        (RulesetStatus::NotEnforced, _) => State::Missing(0),
    })
}

fn number_of(abi: ABI) -> u32 {
    let all = [
        ABI::V1,
        ABI::V2,
        ABI::V3,
        ABI::V4,
        ABI::V5,
        ABI::V6,
        ABI::V7,
        ABI::V8,
        ABI::V9,
        ABI::V10,
    ];
    let below = all.iter().filter(|version| **version <= abi).count();
    u32::try_from(below).unwrap_or(0)
}
