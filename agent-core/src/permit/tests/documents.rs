//! The kinds of documents.

use super::*;

#[test]
fn the_seed_is_read_to_the_letter() {
    let permit = good(SEED).permit;
    assert_eq!(names(&permit), ["nvidia.com/TU104GL_Tesla_T4", "intel.com/qat", "nvidia.com/GRID_T4-1Q"]);
    assert_eq!(resource_of(&permit, &pci("10de:1eb8")).as_deref(), Some("nvidia.com/TU104GL_Tesla_T4"));
    assert_eq!(resource_of(&permit, &pci("8086:6f54")).as_deref(), Some("intel.com/qat"));
    assert_eq!(resource_of(&permit, &mdev("GRID T4-1Q")).as_deref(), Some("nvidia.com/GRID_T4-1Q"));
    assert_eq!(resource_of(&permit, &mdev("GRID_T4-1Q")).as_deref(), Some("nvidia.com/GRID_T4-1Q"));
    assert_eq!(resource_of(&permit, &pci("10de:1eb9")), None);
    assert_eq!(resource_of(&permit, &mdev("GRID T4-1q")), None);
    assert!(permit.resources().iter().all(|resource| resource.is_served()));
}
