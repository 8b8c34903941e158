//! What the files in `deploy/hardened/cert-manager` say.

use std::collections::BTreeMap;

use testkit::hardened;
use yaml_rust2::{Yaml, YamlLoader};

/// The objects that `kubectl apply -k` would make.
pub struct Manifests {
    objects: Vec<Yaml>,
    kustomization: Yaml,
}

/// Files of a secret or a config map, by name.
pub type Data = BTreeMap<String, Vec<u8>>;

fn text(name: &str) -> String {
    hardened::text(&format!("cert-manager/{name}"))
}

fn load(name: &str) -> Vec<Yaml> {
    YamlLoader::load_from_str(&text(name)).unwrap()
}

impl Manifests {
    pub fn read() -> Self {
        let kustomization = load("kustomization.yaml").remove(0);
        let objects = strings(&kustomization["resources"]);
        let objects = objects.iter().flat_map(|name| load(name)).collect();
        Self {
            objects,
            kustomization,
        }
    }

    /// Returns all objects of a kind.
    pub fn all(&self, kind: &str) -> impl Iterator<Item = &Yaml> {
        let all = self.objects.iter();
        all.filter(move |object| object["kind"].as_str() == Some(kind))
    }

    /// Returns the one object of this kind and name.
    pub fn named(&self, kind: &str, name: &str) -> &Yaml {
        let mut found = self.all(kind).filter(|object| name_of(object) == name);
        let object = found.next().unwrap_or_else(|| panic!("no {kind} {name}"));
        assert!(found.next().is_none(), "{kind} {name} is there twice");
        object
    }

    /// Returns what a config map holds.
    pub fn config_map(&self, name: &str) -> Data {
        let all = self.kustomization["configMapGenerator"].as_vec().unwrap();
        let found = all.iter().find(|map| map["name"].as_str() == Some(name));
        let files = strings(&found.unwrap()["files"]);
        let files = files.into_iter();
        files
            .map(|name| (name.to_owned(), text(name).into_bytes()))
            .collect()
    }
}

/// Returns the name in an object's metadata.
pub fn name_of(object: &Yaml) -> &str {
    string(&object["metadata"]["name"])
}

/// Returns the namespace in an object's metadata.
pub fn namespace_of(object: &Yaml) -> &str {
    string(&object["metadata"]["namespace"])
}

/// Returns a text that has to be there.
pub fn string(value: &Yaml) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value:?}"))
}

/// Returns the texts of a list. A list that isn't there is empty.
pub fn strings(list: &Yaml) -> Vec<&str> {
    let list = list.as_vec().map_or(&[][..], Vec::as_slice);
    list.iter().map(string).collect()
}
