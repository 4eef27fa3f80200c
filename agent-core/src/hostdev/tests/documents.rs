use super::*;

fn rejected(text: &str) -> String {
    match machines(text) {
        Err(problem) => problem.to_string(),
        Ok(read) => panic!("accepted: {:?}", read.machines),
    }
}

fn problems(text: &str) -> Vec<String> {
    read(text).problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_seeds_machine_has_three_entries_with_their_paths() {
    let machine = machine(SEED);
    let entries: Vec<_> = machine
        .entries
        .iter()
        .map(|entry| (entry.path.as_str(), entry.name.as_str(), entry.resource().unwrap().as_str()))
        .collect();
    assert_eq!(
        entries,
        [
            ("spec.domain.devices.gpus[0]", "gpu1", "nvidia.com/TU104GL_Tesla_T4"),
            ("spec.domain.devices.gpus[1]", "gpu2", "nvidia.com/GRID_T4-1Q"),
            ("spec.domain.devices.hostDevices[0]", "quickaccess1", "intel.com/qat"),
        ]
    );
    assert_eq!(machine.to_string(), "VirtualMachineInstance in line 1");
}

#[test]
fn every_kind_that_holds_a_machine_is_read_at_its_own_path() {
    for (kind, path) in [
        ("VirtualMachineInstance", "spec"),
        ("VirtualMachine", "spec.template.spec"),
        ("VirtualMachineInstanceReplicaSet", "spec.template.spec"),
        ("VirtualMachinePool", "spec.virtualMachineTemplate.spec.template.spec"),
    ] {
        let mut text = "{domain: {devices: {hostDevices: [{name: a, deviceName: intel.com/qat}]}}}".to_owned();
        for key in path.split('.').rev() {
            text = format!("{{{key}: {text}}}");
        }
        let text = format!("{{kind: {kind}, metadata: {{name: vm, namespace: vms}}, {}", &text[1..]);
        let machine = machine(&text);
        assert_eq!(machine.entries[0].path, format!("{path}.domain.devices.hostDevices[0]"), "{kind}");
        assert_eq!(machine.to_string(), format!("{kind} vms/vm"));
    }
}

#[test]
fn machines_are_found_among_other_documents_in_lists_and_in_json() {
    let json = r#"{"kind": "List", "items": [{"kind": "Secret"}, {"kind": "VirtualMachineInstance", "spec": {"domain":
        {"devices": {"gpus": [{"name": "g", "deviceName": "a.b/c"}]}}}}]}"#;
    let text = format!("kind: ConfigMap\n---\n{SEED}---\n# nothing\n---\n{json}");
    let read = read(&text);
    assert_eq!(read.problems, []);
    assert_eq!(read.machines.len(), 2);
    assert_eq!(read.machines[1].entries[0].path, "items[1].spec.domain.devices.gpus[0]");
    assert!(read.machines[0].at.line > 1, "{:?}", read.machines[0].at);
}

#[test]
fn a_text_without_a_machine_says_what_it_is_instead() {
    assert_eq!(rejected(""), "1:1: the document is empty; give a VirtualMachineInstance or a VirtualMachine");
    assert_eq!(rejected("---\n# nothing\n"), rejected(""));
    assert_eq!(
        rejected("kind: Secret\n---\nkind: KubeVirt\n"),
        "1:1: there is no virtual machine in it, only a Secret, a KubeVirt; give a VirtualMachineInstance or a \
         VirtualMachine"
    );
    assert!(rejected("kind: List\nitems: []\n").contains("only nothing"), "{}", rejected("kind: List\nitems: []\n"));
}

#[test]
fn what_is_no_yaml_is_rejected_with_line_and_column() {
    for (text, place) in
        [("a: [", "2:1: syntax error"), ("kind: {\n\tspec: }\n", "2:"), ("kind: a\nkind: b\n", "2:1: ")]
    {
        let problem = rejected(text);
        assert!(problem.starts_with(place), "{problem}");
    }
    let long = "#".repeat(crate::permit::DOCUMENT_MAX + 1);
    assert!(rejected(&long).contains("longer than"), "a file without end is refused");
}

#[test]
fn a_document_that_is_no_machine_is_told_where_it_fails() {
    assert_eq!(problems("just text"), ["1:1: the document is a single value; write a mapping here (name: value)"]);
    assert_eq!(problems("spec: {domain: {}}"), ["1:1: the document has no kind; add kind: VirtualMachineInstance"]);
    assert_eq!(
        problems("kind: virtualmachineinstance\nspec: {}\n"),
        ["1:7: kind: \"virtualmachineinstance\" is not a kind of KubeVirt; write VirtualMachineInstance"]
    );
    assert_eq!(problems("kind: VirtualMachine\nspec: {}\n"), ["2:7: spec.template: is missing; add template"]);
    assert_eq!(
        problems("kind: VirtualMachineInstance\nspec:\n- domain: {}\n"),
        ["3:3: spec: is a list; write a mapping here (name: value)"]
    );
}

#[test]
fn a_list_where_a_mapping_belongs_and_a_mapping_where_a_list_belongs_are_told() {
    let text = |devices: &str| format!("kind: VirtualMachineInstance\nspec:\n  domain:\n    devices: {devices}\n");
    assert_eq!(problems(&text("[]")), ["4:14: spec.domain.devices: is a list; write a mapping here (name: value)"]);
    assert_eq!(
        problems(&text("{gpus: {name: a}}")),
        ["4:21: spec.domain.devices.gpus: is a mapping; write a list here (lines that begin with -)"]
    );
    assert_eq!(
        problems(&text("{gpus: [nvidia.com/gpu]}")),
        ["4:22: spec.domain.devices.gpus[0]: \"nvidia.com/gpu\" is a single value; write a mapping here (name: value)"]
    );
    assert_eq!(problems(&text("{gpus: , hostDevices: null}")), Vec::<String>::new());
}

#[test]
fn an_entry_must_say_its_name_and_what_it_wants() {
    let entry = |fields: &str| {
        problems(&format!("kind: VirtualMachineInstance\nspec: {{domain: {{devices: {{gpus: [{{{fields}}}]}}}}}}\n"))
    };
    let at = "2:34: spec.domain.devices.gpus[0]";
    assert_eq!(entry("deviceName: a.b/c"), [format!("{at}.name: is missing; add name")]);
    assert!(
        entry("name: g")[0].starts_with(&format!("{at}.deviceName: is missing; add the name")),
        "{:?}",
        entry("name: g")
    );
    assert!(
        entry("name: g, deviceName: gpu")[0].contains("\"gpu\" is not a resource that a pod can ask for: it has no /")
    );
    assert!(entry("name: 1, deviceName: a.b/c")[0].contains("is a number or a boolean for YAML"));
    assert!(entry("name: ' ', deviceName: a.b/c")[0].contains("is blank"));
    let both = entry("name: g, deviceName: a.b/c, claimName: x");
    assert!(both[0].contains("beside a resource claim"), "{both:?}");
}

#[test]
fn what_the_api_server_drops_in_silence_is_told() {
    let text = "kind: VirtualMachineInstance\nspec:\n  domain:\n    devices:\n      hostdevices: [{name: a, deviceName: a.b/c}]\n";
    let notices = told(&read(text).notices);
    assert!(notices[0].contains("spec.domain.devices.hostdevices: is no field that KubeVirt knows"), "{notices:?}");
    assert!(notices[0].contains("did you mean hostDevices?"), "{notices:?}");
    assert!(notices[1].contains("asks for no host device"), "{notices:?}");
    let options = vmi(&[], &["a=a.b/c , virtualGPUOptions: {display: {}}"]);
    assert!(told(&read(&options).notices)[0].contains("only entries of gpus have it"));
}

#[test]
fn resource_claims_and_instance_types_are_named_and_left_alone() {
    let claim =
        "kind: VirtualMachineInstance\nspec: {domain: {devices: {gpus: [{name: g, claimName: c, requestName: r}]}}}\n";
    let of_claim = read(claim);
    assert_eq!(of_claim.machines[0].entries[0].wanted, Wanted::Claim);
    assert!(told(&of_claim.notices)[0].contains("resource claim"));
    assert!(requests(&of_claim.machines[0]).requests.is_empty());
    let typed = "kind: VirtualMachine\nspec: {instancetype: {name: u1}, template: {spec: {domain: {devices: {}}}}}\n";
    assert!(told(&read(typed).notices)[0].contains("spec.instancetype: may add gpus and hostDevices"));
}

#[test]
fn one_bad_machine_does_not_hide_the_others() {
    let read = read(&format!("kind: VirtualMachineInstance\n---\n{SEED}"));
    assert_eq!(told(&read.problems), ["spec: is missing; add spec"]);
    assert_eq!(read.machines.len(), 1);
}
