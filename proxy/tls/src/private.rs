//! Whether a file with a secret in it is open to others.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// The mode of a file that somebody whom a secret is not for can read or change; none if it is well kept.
/// A file of root's may be readable by a group too: that is the only way in which Kubernetes hands a Secret to a
/// process that is not root.
pub fn open_to_others(meta: &Metadata) -> Option<u32> {
    let mode = meta.permissions().mode() & 0o777;
    (mode & others_than_us(meta.uid(), rustix::process::geteuid().as_raw()) != 0).then_some(mode)
}

/// The bits of a file's mode that let in somebody whom a secret is not for: `owner` is the file's, `we` are we.
fn others_than_us(owner: u32, we: u32) -> u32 {
    if owner == 0 && we != 0 { 0o037 } else { 0o077 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_read_only_what_root_owns_and_we_are_not_root() {
        assert_eq!(0o440 & others_than_us(0, 65532), 0);
        assert_ne!(0o444 & others_than_us(0, 65532), 0);
        assert_ne!(0o460 & others_than_us(0, 65532), 0);
        assert_ne!(0o440 & others_than_us(65532, 65532), 0);
        assert_ne!(0o440 & others_than_us(0, 0), 0);
    }
}
