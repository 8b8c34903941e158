//! The tables `[providers.NAME]`: from what the operator wrote, and the preset that it names, to the options of a
//! provider.

use std::{collections::BTreeMap, sync::LazyLock};

use super::{
    file,
    listed::key,
    nearest::{did_you_mean, nearest},
    problem::{Problem, Problems},
    settings::{Method, ProviderSettings, Reader, Rotates, Subject},
    written::Settings,
};
use crate::{
    refresh::provider::{
        Authentication, ClientCertificate, Codes, Endpoints, NOT_REDEEMED, ProviderOptions, Replay,
        Rotation, SecretSource,
    },
    types::{MAX_ID_BYTES, ProviderName},
};

/// The name of the tables in the file.
pub(super) const PROVIDERS: &str = "providers";

/// Returns the presets by name.
pub(super) fn presets() -> &'static BTreeMap<String, Settings> {
    static PRESETS: LazyLock<BTreeMap<String, Settings>> =
        LazyLock::new(|| file::presets(include_str!("presets.toml")));
    &PRESETS
}

/// Returns what the operator wrote about a provider, and below that what its preset says.
pub(super) fn with_preset(written: &Settings) -> Settings {
    let preset = written.get(ProviderSettings::preset).first();
    let Some(mut preset) = preset.and_then(|name| presets().get(name)).cloned() else {
        return written.clone();
    };
    let endpoints = [ProviderSettings::issuer, ProviderSettings::token_endpoint];
    if endpoints.iter().any(|name| written.is_set(name)) {
        // Another server: none of the preset's addresses is its own.
        endpoints.iter().for_each(|name| preset.unset(name));
        preset.unset(ProviderSettings::revocation_endpoint);
    }
    if written.is_set(ProviderSettings::rotation) {
        preset.unset(ProviderSettings::grace);
    }
    written.clone().or(preset)
}

/// Returns the options of all providers, in the order of their names. Adds to `problems` what is wrong with them, and to
/// `warnings` what the operator should know.
pub(super) fn resolve(
    settings: &Settings,
    problems: &mut Problems,
    warnings: &mut Vec<Problem>,
) -> Vec<ProviderOptions> {
    let mut all = Vec::new();
    for (name, written) in settings.tables() {
        let table = table_of(name);
        let is_half_read = settings.problems().iter().any(|wrong| {
            let within = wrong.setting.strip_prefix(&table);
            within.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        let mut found = Problems::default();
        let options = one(name, written, is_half_read, &mut found);
        let found = found.take();
        let placed = found.into_iter().map(|problem| Problem {
            setting: placed(name, &problem.setting),
            ..problem
        });
        let placed: Vec<_> = placed.collect();
        problems.extend(&placed);
        let Some(options) = options else { continue };
        match options.check_files() {
            Ok(odd) => warnings.extend(
                odd.into_iter()
                    .map(|odd| Problem::new(placed_in(name, odd.setting.name()), odd.what)),
            ),
            Err(wrong) => wrong.into_iter().for_each(|wrong| {
                problems.add_together(&placed_in(name, wrong.setting.name()), &[], wrong.what);
            }),
        }
        if options.revoke_on_delete && options.revocation_ends_grant {
            let setting = placed_in(name, ProviderSettings::revoke_on_delete);
            let message = "deleting a row ends the user's other sessions at this provider too";
            warnings.push(Problem::new(setting, message));
        }
        all.push(options);
    }
    all
}

/// Returns the name of a setting with that of its table.
fn placed(provider: &str, setting: &str) -> String {
    if setting.is_empty() {
        table_of(provider)
    } else {
        placed_in(provider, setting)
    }
}

fn placed_in(provider: &str, setting: &str) -> String {
    format!("{}.{setting}", table_of(provider))
}

/// Returns the head of a provider's table, without brackets.
pub(super) fn table_of(provider: &str) -> String {
    format!("{PROVIDERS}.{}", key(provider))
}

/// Returns the options of a provider. If its table `is_half_read`, because of mistakes that were told already, what is missing
/// isn't told: that would be a second message about one mistake.
fn one(
    name: &str,
    written: &Settings,
    is_half_read: bool,
    problems: &mut Problems,
) -> Option<ProviderOptions> {
    let Ok(name) = ProviderName::new(name) else {
        let message = format!(
            "is not the name of a provider: it must have 1 to {MAX_ID_BYTES} bytes, and no control character"
        );
        problems.add("", message);
        return None;
    };
    let settings = with_preset(written);
    let mut reader = Reader::new(&settings);
    let read = ProviderSettings::read(&mut reader);
    problems.extend(&reader.problems.take());
    if let Some(preset) = &read.preset
        && !presets().contains_key(preset)
    {
        let names: Vec<_> = presets().keys().map(String::as_str).collect();
        let meant = did_you_mean(nearest(preset, names.iter().copied()));
        let message = format!("must be one of {}{meant}", names.join(", "));
        problems.add(ProviderSettings::preset, message);
        if read.client_id.is_none() && !is_half_read {
            problems.add_together(ProviderSettings::client_id, &[], "must be set");
        }
        // The preset would have said more.
        return None;
    }
    if is_half_read {
        return None;
    }
    let has_address = read.issuer.is_some() || read.token_endpoint.is_some();
    if !has_address && !problems.concern(ProviderSettings::token_endpoint) {
        let others = [ProviderSettings::token_endpoint];
        let message = "must be set, or token-endpoint";
        problems.add_together(ProviderSettings::issuer, &others, message);
    }
    if read.client_id.is_none() {
        problems.add_together(ProviderSettings::client_id, &[], "must be set");
    }
    let rotation = rotation(&read, problems);
    check(&read, problems);
    let authentication = authentication(&read, &settings, problems)?;
    Some(ProviderOptions {
        name,
        endpoints: Endpoints {
            issuer: read.issuer,
            token: read.token_endpoint,
            revocation: read.revocation_endpoint,
        },
        client_id: read.client_id?,
        authentication,
        scopes: read.scopes,
        resource: read.resource,
        audience: read.audience,
        rotation: rotation?,
        replay: read.replay.unwrap_or(Replay::AsRotationAllows),
        codes: Codes {
            not_redeemed_statuses: match settings.is_set(ProviderSettings::not_redeemed_statuses) {
                true => read.not_redeemed_statuses,
                false => NOT_REDEEMED.into(),
            },
            not_redeemed: read.not_redeemed_codes,
            refused: read.refused_codes,
            our_fault: read.misconfigured_codes,
        },
        tokens_within: read.tokens_within,
        rejected_interval: read.rejected_interval,
        margin: read.margin,
        timeout: read.timeout,
        connect_timeout: read.connect_timeout,
        max_concurrent: read.max_concurrent,
        max_rate: read.max_rate,
        max_waiters: read.max_waiters,
        refresh_lifetime: read.refresh_lifetime,
        assume_expires_in: read.assume_expires_in,
        subject_claim: read.subject_claim,
        formerly: read.formerly,
        revoke_on_delete: read.revoke_on_delete,
        revocation_ends_grant: read.revocation_ends_grant,
        kills_access_token: read.kills_access_token,
        ca_file: read.ca_file,
        proxy: read.proxy,
        proxy_credentials: read.proxy_credentials_file.map(SecretSource::File),
    })
}

/// Adds a problem for each setting that contradicts another one or has no effect.
fn check(read: &ProviderSettings, problems: &mut Problems) {
    type S = ProviderSettings;
    let pointer = read.tokens_within.as_ref();
    if pointer.is_some_and(|pointer| !pointer.starts_with('/')) {
        problems.add(
            S::tokens_within,
            "must be a JSON pointer, which begins with /",
        );
    }
    if read.revoke_on_delete && read.issuer.is_none() && read.revocation_endpoint.is_none() {
        let message = "needs revocation-endpoint or issuer";
        problems.add_together(
            S::revoke_on_delete,
            &[S::revocation_endpoint, S::issuer],
            message,
        );
    }
    let lists = [
        (S::refused_codes, &read.refused_codes),
        (S::misconfigured_codes, &read.misconfigured_codes),
        (S::not_redeemed_codes, &read.not_redeemed_codes),
    ];
    for (at, (name, codes)) in lists.iter().enumerate() {
        for (other, others) in &lists[at + 1..] {
            let is_in_both =
                |code: &String| others.iter().any(|other| other.eq_ignore_ascii_case(code));
            if codes.iter().any(is_in_both) {
                let message =
                    format!("names a code that is in {other} too: take it out of one of them");
                problems.add_together(name, &[other], message);
            }
        }
    }
    if let (Rotates::Grace, Some(grace)) = (read.rotation, read.grace)
        && grace < read.timeout
    {
        let message = "is shorter than timeout, so that nothing could be sent again within it: lower timeout, or \
                       write rotation = \"strict\" and leave grace out";
        problems.add_together(S::grace, &[S::timeout], message);
    }
    if read.proxy_credentials_file.is_some() && read.proxy.is_none() {
        let message = "has no effect without proxy";
        problems.add_together(S::proxy_credentials_file, &[S::proxy], message);
    }
}

fn rotation(read: &ProviderSettings, problems: &mut Problems) -> Option<Rotation> {
    let grace = ProviderSettings::grace;
    match (read.rotation, read.grace) {
        (Rotates::Strict, None) => Some(Rotation::Strict),
        (Rotates::None, None) => Some(Rotation::None),
        (Rotates::Grace, Some(length)) => Some(Rotation::Grace(length)),
        (Rotates::Grace, None) => {
            let message = "must be set with rotation = \"grace\"";
            problems.add_together(grace, &[ProviderSettings::rotation], message);
            None
        }
        (Rotates::Strict | Rotates::None, Some(_)) => {
            let message = "has no effect without rotation = \"grace\"";
            problems.add_together(grace, &[ProviderSettings::rotation], message);
            None
        }
    }
}

/// The settings that belong to a method.
const SECRET: &[&str] = &[
    ProviderSettings::client_secret_file,
    ProviderSettings::client_secret_env,
];
const KEY: &[&str] = &[
    ProviderSettings::private_key_file,
    ProviderSettings::private_key_id,
    ProviderSettings::private_key_algorithm,
    ProviderSettings::assertion_audience,
];
const CERTIFICATE: &[&str] = &[
    ProviderSettings::client_certificate_file,
    ProviderSettings::client_certificate_key_file,
];

/// Returns the method that the credentials are for, and the setting that says so.
pub(super) fn implied(settings: &Settings) -> Option<(Method, &'static str)> {
    let methods = [
        (Method::SecretBasic, SECRET),
        (Method::PrivateKeyJwt, KEY),
        (Method::TlsClientAuth, CERTIFICATE),
    ];
    methods.into_iter().find_map(|(method, names)| {
        let set = names.iter().find(|name| settings.is_set(name));
        set.map(|name| (method, *name))
    })
}

fn authentication(
    read: &ProviderSettings,
    settings: &Settings,
    problems: &mut Problems,
) -> Option<Authentication> {
    type S = ProviderSettings;

    let implied = || implied(settings).map(|(method, _)| method);
    let Some(method) = read.client_authentication.or_else(implied) else {
        let message = "must be set, or one of client-secret-file, client-secret-env, \
                       private-key-file and client-certificate-file; a client without any has \"none\"";
        problems.add_together(S::client_authentication, &[], message);
        return None;
    };
    let own = match method {
        Method::SecretBasic | Method::SecretPost => SECRET,
        Method::PrivateKeyJwt => KEY,
        Method::TlsClientAuth => CERTIFICATE,
        Method::None => &[],
    };
    for name in [SECRET, KEY, CERTIFICATE].concat() {
        if settings.is_set(name) && !own.contains(&name) {
            let message = "has no effect with this client-authentication";
            problems.add_together(name, &[S::client_authentication], message);
        }
    }
    let secret = |problems: &mut Problems| match (
        read.client_secret_file.clone(),
        read.client_secret_env.clone(),
    ) {
        (Some(file), None) => Some(SecretSource::File(file)),
        (None, Some(variable)) => Some(SecretSource::Variable(variable)),
        (Some(_), Some(_)) => {
            let message = "client-secret-env is set too, and only one may be";
            problems.add_together(S::client_secret_file, &[], message);
            None
        }
        (None, None) => {
            let others = [S::client_secret_env];
            let message = "must be set, or client-secret-env";
            problems.add_together(S::client_secret_file, &others, message);
            None
        }
    };
    match method {
        Method::SecretBasic => secret(problems).map(Authentication::SecretBasic),
        Method::SecretPost => secret(problems).map(Authentication::SecretPost),
        Method::PrivateKeyJwt => {
            let Some(file) = read.private_key_file.clone() else {
                problems.add_together(S::private_key_file, &[], "must be set");
                return None;
            };
            Some(Authentication::PrivateKeyJwt {
                key: SecretSource::File(file),
                key_id: read.private_key_id.clone(),
                algorithm: read.private_key_algorithm,
                audience: read.assertion_audience.clone(),
            })
        }
        Method::TlsClientAuth => {
            let files = (
                read.client_certificate_file.clone(),
                read.client_certificate_key_file.clone(),
            );
            let (Some(certificate), Some(key)) = files else {
                for name in CERTIFICATE.iter().filter(|name| !settings.is_set(name)) {
                    problems.add_together(name, &[], "must be set");
                }
                return None;
            };
            let files = ClientCertificate { certificate, key };
            Some(Authentication::TlsClientAuth(files))
        }
        Method::None => Some(Authentication::None),
    }
}
