//! vfiod's own settings.

use super::*;
use crate::variables::EnvNames;
use std::time::Duration;

fn with(settings: &str) -> String {
    format!("permittedHostDevices: {{}}\n{settings}\n")
}

#[test]
fn settings_stand_beside_either_form_of_the_permits() {
    let settings = "envNames: seed\nallowNoIommu: true\npreStart: {releaseWait: 1500ms}\n";
    for text in [with(settings), format!("{SEED}{settings}")] {
        let expected =
            Settings { env_names: EnvNames::Seed, allow_no_iommu: true, release_wait: Duration::from_millis(1500) };
        assert_eq!(*good(&text).permit.settings(), expected);
    }
    assert_eq!(*good(&with("preStart:")).permit.settings(), Settings::default());
}

#[test]
fn a_bad_setting_names_place_field_value_and_remedy_and_refuses_the_start() {
    for (setting, expected) in [
        ("envNames: all", "2:11: envNames: \"all\" is no choice of names; write both, kubevirt or seed"),
        ("envNames:", "2:9: envNames: has no value; write a text here"),
        ("allowNoIommu: 1", "2:15: allowNoIommu: \"1\" is not a boolean; write true or false"),
        ("allowNoIommu: []", "2:15: allowNoIommu: is a list; write true or false"),
        ("preStart: 20s", "2:11: preStart: \"20s\" is a single value; write a mapping"),
        (
            "preStart: {releaseWait: 20}",
            "2:25: preStart.releaseWait: \"20\" is not a duration; write a duration with its unit",
        ),
        ("preStart: {releaseWait: 0s}", "2:25: preStart.releaseWait: \"0s\" is no time at all"),
        ("preStart: {releaseWait: 26s}", "2:25: preStart.releaseWait: \"26s\" is too long: the kubelet gives"),
        ("preStart: {releaseWait: 25001ms}", "2:25: preStart.releaseWait: \"25001ms\" is too long"),
        ("preStart: {releaseWait: -1s}", "2:25: preStart.releaseWait: \"-1s\" is not a duration"),
        ("preStart: {releaseWait: 99999999999999999999y}", "2:25: preStart.releaseWait: "),
        ("preStart: {releaseWait: {}}", "2:25: preStart.releaseWait: is a mapping; write a duration"),
        ("preStart: {relaseWait: 20s}", "2:12: preStart.relaseWait: unknown field; did you mean releaseWait?"),
        ("envname: both", "2:1: envname: unknown field; did you mean envNames?"),
        ("logLevel: 3", "2:1: logLevel: unknown field; known here: permittedHostDevices, configuration"),
    ] {
        let parsed = read(&with(setting));
        let [problem] = parsed.problems.as_slice() else { panic!("{setting}: {:?}", parsed.problems) };
        assert!(problem.to_string().starts_with(expected), "{setting}\n   says {problem}\nexpected {expected}");
        assert_eq!(parsed.at_start().unwrap_err().len(), 1, "{setting}");
    }
    good(&with("preStart: {releaseWait: 25s}"));
}

#[test]
fn a_bad_entry_alone_does_not_refuse_the_start() {
    let parsed = read(&own(&["10de:1eb8 a.com/x", "10de:1eb9 gpu"])).at_start().unwrap();
    assert_eq!((names(&parsed.permit), parsed.problems.len()), (vec!["a.com/x"], 1));
}

#[test]
fn settings_below_configuration_are_ignored_and_that_is_said() {
    let text = "configuration:\n  permittedHostDevices: {}\n  envNames: seed\n";
    assert_eq!(good(text).permit.settings().env_names, EnvNames::Both);
    assert!(notices(text).iter().any(|notice| notice.contains("configuration.envNames: is ignored")));
}
