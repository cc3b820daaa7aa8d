//! Capabilities (capabilities(7)), and what prctl(2) takes away for good.

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// Leaves this thread no capability in any set but the bounding one.
pub(super) fn drop_all() -> Result<(), Errno> {
    let none = CapabilitySet::empty();
    clear_ambient_capability_set()?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )
}

/// Empties the set of what could be gained by executing something. It takes `CAP_SETPCAP`; where
/// that is missing, `no_new_privs` makes the set meaningless.
pub(super) fn empty_bounding_set() -> Result<(), Errno> {
    if capabilities(None)?
        .effective
        .contains(CapabilitySet::SETPCAP)
    {
        bound(CapabilitySet::empty())?;
    }
    Ok(())
}

/// Leaves in the bounding set only what is in `kept`.
pub(super) fn bound(kept: CapabilitySet) -> Result<(), Errno> {
    for one in CapabilitySet::all().difference(kept).iter() {
        match remove_capability_from_bounding_set(one) {
            // A kernel that does not know it has none to remove.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

pub(super) fn gain_none() -> Result<(), Errno> {
    set_no_new_privs(true)
}

pub(super) fn be_untraceable() -> Result<(), Errno> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}
