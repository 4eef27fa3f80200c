//! Compiles the kubelet's APIs and vfiod's own with protox, so that no `protoc` is needed on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "proto/deviceplugin/v1beta1/api.proto",
        "proto/pluginregistration/v1/api.proto",
        "proto/podresources/v1/api.proto",
        "proto/status/v1/status.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        // What the command line writes as JSON is what went over the socket.
        .message_attribute(".vfiod.status.v1", "#[derive(serde::Serialize)] #[serde(rename_all = \"camelCase\")]")
        .compile_fds(descriptors)?;
    Ok(())
}
