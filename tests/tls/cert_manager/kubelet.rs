//! The kubelet, played: it writes the volumes of a pod, and changes them as it does.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use yaml_rust2::Yaml;

use super::manifests::{Data, Manifests, string};

/// The mode of files in a volume that doesn't name another.
const DEFAULT_MODE: u32 = 0o644;

/// A volume of a secret or a config map. Its files are links into `..data`, which is a link to a directory. Only that one is
/// swapped.
pub struct Volume {
    dir: PathBuf,
    mode: u32,
    generation: u32,
}

impl Volume {
    pub fn mount(dir: PathBuf, mode: u32, data: &Data) -> Self {
        fs::create_dir_all(&dir).unwrap();
        let mut volume = Self {
            dir,
            mode,
            generation: 0,
        };
        volume.write(data);
        for name in data.keys() {
            symlink(Path::new("..data").join(name), volume.file(name)).unwrap();
        }
        volume
    }

    /// Writes other files, swaps the link, and removes the old ones at once.
    pub fn write(&mut self, data: &Data) {
        self.generation += 1;
        let name = format!("..2026_11_28_10_00_00.{}", self.generation);
        let dir = self.dir.join(&name);
        fs::create_dir(&dir).unwrap();
        for (name, text) in data {
            fs::write(dir.join(name), text).unwrap();
            fs::set_permissions(dir.join(name), Permissions::from_mode(self.mode)).unwrap();
        }
        let (next, now) = (self.dir.join("..data_tmp"), self.dir.join("..data"));
        let before = fs::read_link(&now);
        symlink(&name, &next).unwrap();
        fs::rename(next, now).unwrap();
        if let Ok(before) = before {
            fs::remove_dir_all(self.dir.join(before)).unwrap();
        }
    }

    /// Returns the path of a file.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// The volumes of a pod, below a directory that is its root.
pub struct Pod {
    root: PathBuf,
    /// By the paths in the pod.
    pub volumes: BTreeMap<String, Volume>,
    /// The paths of the volumes, by the secrets that they hold.
    secrets: BTreeMap<String, String>,
    container: Yaml,
}

impl Pod {
    /// Makes the volumes of the one container of a stateful set.
    pub fn start(
        root: &Path,
        manifests: &Manifests,
        set: &Yaml,
        secrets: &BTreeMap<String, Data>,
    ) -> Self {
        let spec = &set["spec"]["template"]["spec"];
        let [container] = &spec["containers"].as_vec().unwrap()[..] else {
            panic!("{spec:?}")
        };
        let mut pod = Self {
            root: root.to_owned(),
            volumes: BTreeMap::new(),
            secrets: BTreeMap::new(),
            container: container.clone(),
        };
        for mount in container["volumeMounts"].as_vec().unwrap() {
            assert!(mount["subPath"].is_badvalue(), "{mount:?} never changes");
            let (name, path) = (string(&mount["name"]), string(&mount["mountPath"]));
            let Some(volume) = named(&spec["volumes"], |one| &one["name"], name) else {
                // A disk. The test has the audit trail elsewhere.
                let claims = &set["spec"]["volumeClaimTemplates"];
                named(claims, |one| &one["metadata"]["name"], name).unwrap();
                continue;
            };
            let secret = volume["secret"]["secretName"].as_str();
            let (data, mode) = match secret {
                Some(secret) => {
                    pod.secrets.insert(secret.to_owned(), path.to_owned());
                    let data = secrets.get(secret).unwrap_or_else(|| panic!("no {secret}"));
                    (data.clone(), mode(&volume["secret"]["defaultMode"]))
                }
                None => {
                    let name = string(&volume["configMap"]["name"]);
                    (manifests.config_map(name), DEFAULT_MODE)
                }
            };
            let volume = Volume::mount(pod.outside(path), mode, &data);
            pod.volumes.insert(path.to_owned(), volume);
        }
        pod
    }

    /// Returns where a path of the pod is to the test.
    pub fn outside(&self, path: &str) -> PathBuf {
        self.root.join(path.strip_prefix('/').unwrap())
    }

    /// Returns the text of the file that an argument of the container names.
    pub fn file_of(&self, argument: &str) -> String {
        let arguments = self.container["args"].as_vec().unwrap();
        let at = arguments.iter().position(|one| string(one) == argument);
        let path = string(&arguments[at.unwrap() + 1]);
        fs::read_to_string(self.outside(path)).unwrap()
    }

    /// Changes a secret.
    pub fn change(&mut self, secret: &str, data: &Data) {
        let path = &self.secrets[secret];
        self.volumes.get_mut(path).unwrap().write(data);
    }
}

/// Returns the object of a list that has this name.
fn named<'l>(list: &'l Yaml, name_of: fn(&Yaml) -> &Yaml, name: &str) -> Option<&'l Yaml> {
    let mut all = list.as_vec().unwrap().iter();
    all.find(|one| name_of(one).as_str() == Some(name))
}

/// Kubernetes reads `0440` as octal. The parser here reads it as decimal, as YAML 1.2 does.
fn mode(value: &Yaml) -> u32 {
    let digits = value.as_i64().map(|digits| digits.to_string());
    digits.map_or(DEFAULT_MODE, |digits| {
        u32::from_str_radix(&digits, 8).unwrap()
    })
}
