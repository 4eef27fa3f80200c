//! The archive: an OCI image layout in a tar, with docker's own table of contents beside it.
//!
//! containerd (and so `kind load image-archive`) and podman read `index.json`; docker before 25 reads `manifest.json`.
//! Both name the same blobs.

use super::{
    layer::{Layer, append},
    origin::Origin,
};
use anyhow::Result;
use flate2::{Compression, GzBuilder};
use oci_spec::image::{
    ANNOTATION_CREATED, ANNOTATION_DESCRIPTION, ANNOTATION_LICENSES, ANNOTATION_REF_NAME, ANNOTATION_REVISION,
    ANNOTATION_SOURCE, ANNOTATION_TITLE, ANNOTATION_VERSION, Arch, ConfigBuilder, Descriptor, DescriptorBuilder,
    HistoryBuilder, ImageConfigurationBuilder, ImageIndexBuilder, ImageManifestBuilder, MediaType, OciLayoutBuilder,
    Os, PlatformBuilder, RootFsBuilder, SCHEMA_VERSION, Sha256Digest,
};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    str::FromStr,
};
use tar::{Builder, EntryType};

/// What the labels of an image say.
pub(super) struct Describe<'a> {
    /// The image's name without a tag.
    pub(super) name: &'a str,
    /// vfiod's version.
    pub(super) version: &'a str,
    /// Which sources it is made of.
    pub(super) origin: &'a Origin,
}

/// An archive that is whole.
#[derive(Debug)]
pub(super) struct Archive {
    pub(super) bytes: Vec<u8>,
    /// Name and tag.
    pub(super) reference: String,
    /// The digest of the manifest.
    pub(super) digest: String,
    /// The size of the layer before it was packed: bytes.
    pub(super) unpacked: usize,
}

/// The name under which containerd keeps an image of an archive (containerd: `images/image.go`).
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Hexadecimal digits of the digest that go into the tag.
const SHORT: usize = 12;

pub(super) fn write(layer: &Layer, about: &Describe<'_>) -> Result<Archive> {
    let tar = layer.tar()?;
    let packed = pack(&tar)?;
    let labels = labels(about);

    let mut config = ConfigBuilder::default()
        .env(["PATH=/usr/bin".to_owned()])
        .entrypoint(["/usr/bin/vfiod".to_owned()])
        .working_dir("/")
        .stop_signal("SIGTERM");
    config = config.labels(labels.clone());
    let created = about.origin.created.clone().unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned());
    let config = ImageConfigurationBuilder::default()
        .created(created.as_str())
        .architecture(Arch::default())
        .os(Os::Linux)
        .config(config.build()?)
        .rootfs(RootFsBuilder::default().typ("layers").diff_ids([format!("sha256:{}", hex(&tar))]).build()?)
        .history([HistoryBuilder::default().created(created.as_str()).created_by("cargo xtask image").build()?])
        .build()?;
    let config = canonical(&config)?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(MediaType::ImageConfig, &config)?)
        .layers([descriptor(MediaType::ImageLayerGzip, &packed)?])
        .annotations(labels)
        .build()?;
    let manifest = canonical(&manifest)?;

    let digest = hex(&manifest);
    let tag = format!("{}-{}", about.version, digest.get(..SHORT).unwrap_or(&digest));
    let reference = format!("{}:{tag}", about.name);
    let names = [(CONTAINERD_NAME, reference.as_str()), (ANNOTATION_REF_NAME, tag.as_str())];
    let in_index = DescriptorBuilder::default()
        .media_type(MediaType::ImageManifest)
        .size(manifest.len() as u64)
        .digest(Sha256Digest::from_str(&digest)?)
        .annotations(
            names.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect::<HashMap<_, _>>(),
        )
        .platform(PlatformBuilder::default().architecture(Arch::default()).os(Os::Linux).build()?)
        .build()?;
    let index = ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageIndex)
        .manifests([in_index])
        .build()?;
    let layout = OciLayoutBuilder::default().image_layout_version("1.0.0").build()?;
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", hex(bytes));
    let docker = json!([{"Config": blob(&config), "Layers": [blob(&packed)], "RepoTags": [reference]}]);

    let mut files = BTreeMap::from([
        ("index.json".to_owned(), canonical(&index)?),
        ("manifest.json".to_owned(), canonical(&docker)?),
        ("oci-layout".to_owned(), canonical(&layout)?),
    ]);
    for bytes in [config, manifest, packed] {
        files.insert(blob(&bytes), bytes);
    }
    Ok(Archive { bytes: tar_of(&files)?, reference, digest: format!("sha256:{digest}"), unpacked: tar.len() })
}

fn tar_of(files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>> {
    let mut out = Builder::new(Vec::new());
    for folder in ["blobs/", "blobs/sha256/"] {
        append(&mut out, folder, EntryType::Directory, 0o755, &[])?;
    }
    for (path, bytes) in files {
        append(&mut out, path, EntryType::Regular, 0o644, bytes)?;
    }
    Ok(out.into_inner()?)
}

fn labels(about: &Describe<'_>) -> HashMap<String, String> {
    let mut labels = HashMap::from([
        (ANNOTATION_TITLE, "vfiod"),
        (ANNOTATION_DESCRIPTION, "Node agent that hands VFIO devices to KubeVirt virtual machines"),
        (ANNOTATION_VERSION, about.version),
        (ANNOTATION_LICENSES, "Apache-2.0"),
        (ANNOTATION_SOURCE, env!("CARGO_PKG_REPOSITORY")),
    ]);
    labels.extend(about.origin.revision.as_deref().map(|revision| (ANNOTATION_REVISION, revision)));
    labels.extend(about.origin.created.as_deref().map(|created| (ANNOTATION_CREATED, created)));
    labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn descriptor(kind: MediaType, bytes: &[u8]) -> Result<Descriptor> {
    Ok(Descriptor::new(kind, bytes.len() as u64, Sha256Digest::from_str(&hex(bytes))?))
}

/// gzip without a name or a time in its header.
fn pack(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut packed = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    packed.write_all(bytes)?;
    Ok(packed.finish()?)
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// JSON whose keys are sorted, at every depth: the crate keeps labels in a hash map, in the order of the day.
fn canonical(value: &impl Serialize) -> Result<Vec<u8>> {
    fn sorted(value: Value) -> Value {
        match value {
            Value::Object(map) => {
                let sorted_map: BTreeMap<String, Value> =
                    map.into_iter().map(|(key, one)| (key, sorted(one))).collect();
                Value::Object(sorted_map.into_iter().collect())
            }
            Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
            other => other,
        }
    }
    Ok(serde_json::to_vec(&sorted(serde_json::to_value(value)?))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(Result::unwrap);
        let mut files = BTreeMap::new();
        for mut entry in entries {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), bytes);
        }
        files
    }

    #[test]
    fn every_blob_is_what_its_name_says_and_both_tables_of_contents_lead_to_the_program() {
        let mut layer = Layer::default();
        layer.program("usr/bin/vfiod", b"the program".to_vec());
        let revision = Some("0123abc".to_owned());
        let origin = Origin { revision, created: Some("2026-08-01T10:00:00Z".to_owned()) };
        let archive =
            write(&layer, &Describe { name: "example.com/vfiod", version: "1.2.3", origin: &origin }).unwrap();
        let files = files(&archive.bytes);
        for (name, bytes) in files.iter().filter(|(name, bytes)| name.starts_with("blobs") && !bytes.is_empty()) {
            assert_eq!(*name, format!("blobs/sha256/{}", hex(bytes)));
        }
        let json = |name: &str| serde_json::from_slice::<Value>(&files[name]).unwrap();
        let blob = |digest: &Value| format!("blobs/{}", digest.as_str().unwrap().replace(':', "/"));

        let entry = &json("index.json")["manifests"][0];
        assert_eq!(entry["digest"], archive.digest.as_str());
        assert_eq!(entry["annotations"][CONTAINERD_NAME], archive.reference.as_str());
        let manifest = json(&blob(&entry["digest"]));
        let config = json(&blob(&manifest["config"]["digest"]));
        assert_eq!(config["config"]["Entrypoint"], json!(["/usr/bin/vfiod"]));
        assert_eq!(config["config"]["Labels"][ANNOTATION_REVISION], "0123abc");
        assert_eq!(config["created"], "2026-08-01T10:00:00Z");

        let packed = &files[&blob(&manifest["layers"][0]["digest"])];
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut tar).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", hex(&tar)));
        assert!(tar.windows(11).any(|window| window == b"the program"));

        let docker = &json("manifest.json")[0];
        assert_eq!(docker["RepoTags"], json!([archive.reference]));
        assert_eq!(docker["Config"], blob(&manifest["config"]["digest"]));
    }
}
