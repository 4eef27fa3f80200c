use super::*;

fn refused(text: &str) -> String {
    Environment::parse(text).unwrap_err().to_string()
}

#[test]
fn what_env_prints_is_read_with_or_without_ornaments() {
    let text = "# of the container\n\nPATH=/bin\n  A=1\nexport B=\"x,y\"\r\nC='z'\nEMPTY=\nD=a=b\n";
    let env = environment(text);
    let value = |name| env.get(name);
    assert_eq!(
        [value("A"), value("B"), value("C"), value("EMPTY"), value("D")],
        [Some("1"), Some("x,y"), Some("z"), Some(""), Some("a=b")]
    );
    assert_eq!(value("NOBODY"), None);
    assert_eq!(environment(""), Environment::default());
}

#[test]
fn the_environment_of_a_process_is_read_from_proc() {
    let env = environment("PATH=/bin\0PCI_RESOURCE_A_B=0000:3b:00.0\0TEXT=two\nlines\0");
    assert_eq!(env.get("PCI_RESOURCE_A_B"), Some("0000:3b:00.0"));
    assert_eq!(env.get("TEXT"), Some("two\nlines"));
}

#[test]
fn a_value_of_several_lines_is_kept_together() {
    let env = environment("STANDALONE_VMI={\n  \"a\": 1\n}\nPCI_RESOURCE_A_B=x\n");
    assert_eq!(env.get("STANDALONE_VMI"), Some("{\n\"a\": 1\n}"));
}

#[test]
fn a_line_that_sets_nothing_is_named() {
    assert_eq!(
        refused("not an environment"),
        "line 1: \"not an environment\" sets no variable; write NAME=VALUE, as `env` prints it"
    );
    assert!(refused("PATH=/bin\nPCI_RESOURCE_A_B 0000:3b:00.0\n").starts_with("line 2: "));
    assert!(refused("=x").starts_with("line 1: "));
    assert!(refused(&"x".repeat(10_000)).len() < 300);
}

#[test]
fn a_devices_variable_that_is_set_twice_must_say_the_same() {
    assert_eq!(
        refused("PCI_RESOURCE_A_B=x\nPATH=1\nPCI_RESOURCE_A_B=y\n"),
        "line 3: PCI_RESOURCE_A_B is set a second time, to something else than in line 1; keep one of the two"
    );
    assert_eq!(environment("PCI_RESOURCE_A_B=x\nPCI_RESOURCE_A_B=x\nPATH=1\nPATH=2").get("PATH"), Some("2"));
}
