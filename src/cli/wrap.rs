//! What `token-broker keys` has a key management service do: make a new key, and wrap the keys of a file again.

use super::{Configured, FAILED, USAGE, complain, refuse, runtime, unknown_variables};
use crate::{
    config::Wrapping,
    seal::{KeyFile, KeysFileProblem, KmsError, Proof, Rewrapped},
    types::{KeyName, SecretBytes, read_private},
};

/// What to do without the right to unwrap.
const UNPROVEN: &str = "; nothing was written. To prove that the keys stay the same, the command has them unwrapped: it needs \
                        `update` on transit/decrypt, or --unproven";

/// Returns the line of a key file with a new key that the service wrapped. The key itself never comes here.
///
/// # Errors
/// Returns the exit code, after printing what went wrong on stderr.
pub(super) fn generate(configured: &Configured, name: &KeyName) -> Result<SecretBytes, u8> {
    let wrapping = wrapping(configured)?;
    let made: Result<_, KmsError> = wait(wrapping.kms.generate())?;
    let key = made.map_err(|error| failed(&format!("no key was made: {error}")))?;
    Ok(SecretBytes::new((key.line(name) + "\n").into_bytes()))
}

/// Returns the text of the key file with every key wrapped again. Says on stderr what of the file was left out.
///
/// # Errors
/// Returns the exit code, after printing what went wrong on stderr.
pub(super) fn rewrap(configured: &Configured, proof: Proof) -> Result<SecretBytes, u8> {
    let Wrapping { kms, seal_keys } = wrapping(configured)?;
    let Some(path) = seal_keys else {
        complain("seal-keys: must name the file whose keys are to be wrapped");
        return Err(USAGE);
    };
    let wrong = |problem: String| failed(&format!("seal-keys: {problem}"));
    let text = read_private(&path).map_err(|problem| wrong(problem.to_string()))?;
    let wrapped = wait(KeyFile::wrapped_again(&text, &*kms, proof))?;
    let Rewrapped { text, left_out } = wrapped.map_err(|problem| {
        let advice = match (&problem, proof) {
            (KeysFileProblem::Kms(_), Proof::Unwraps) => UNPROVEN,
            _ => "",
        };
        wrong(format!("{problem}{advice}"))
    })?;
    for line in left_out {
        complain(&format!(
            "seal-keys: line {line}: the comment may hold a plain key or a part of one, and was left out; whoever has the old file has it"
        ));
    }
    if proof == Proof::None {
        complain(
            "nobody proved that the keys are still the same: start a broker with the new file before the old one goes",
        );
    }
    Ok(text)
}

fn wrapping(configured: &Configured) -> Result<Wrapping, u8> {
    let found = configured
        .settings()
        .and_then(|settings| settings.wrapping());
    found.map_err(|problems| refuse(&problems, &unknown_variables()))
}

fn wait<T>(asked: impl Future<Output = T>) -> Result<T, u8> {
    let runtime = runtime().map_err(|error| failed(&format!("can't start: {error}")))?;
    let answer = runtime.block_on(asked);
    // The resolver of names may hang.
    runtime.shutdown_background();
    Ok(answer)
}

fn failed(message: &str) -> u8 {
    complain(message);
    FAILED
}
