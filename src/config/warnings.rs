//! What a configuration says that may be meant so, and is worth a word.

use super::names::is_public_suffix;
use super::secret::text_in;
use super::{Config, SecretSource};

impl Config {
    /// One sentence each. Files are looked at anew.
    pub fn warnings(&self) -> Vec<String> {
        let keys = self.cas.iter().filter_map(|ca| match &ca.eab.as_ref()?.hmac_key {
            SecretSource::File(file) => {
                let (file, why) = (file.display(), text_in(file).err()?);
                let name = &ca.name;
                Some(format!("the HMAC key of the CA `{name}`, {file}, {why}: no account can be made there"))
            }
            SecretSource::Environment(_) => None,
        });
        let suffixes = self.certificates.iter().flat_map(|certificate| {
            certificate.names.iter().filter(|name| is_public_suffix(name)).map(|name| {
                let certificate = &certificate.name;
                format!("the certificate `{certificate}` is for {name}, below which everybody can register names")
            })
        });
        keys.chain(suffixes).collect()
    }
}
