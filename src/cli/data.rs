//! Which images to train and to evaluate on.

use std::io::IsTerminal;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};

use crate::data::{CIFAR10, DataError, Progress, Split, default_cache_dir, load_dir, sample};
use crate::error::Error;

/// The data set: --data DIR; else what --download has fetched before; else the embedded sample.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DataArgs {
    /// Directory with CIFAR-10's (or CIFAR-100's) binary files
    #[arg(long, value_name = "DIR", conflicts_with = "download")]
    data: Option<PathBuf>,
    /// Fetch CIFAR-10 from its official address, once, and use it
    #[arg(long)]
    download: bool,
}

impl DataArgs {
    /// Loads the data that the options name, and says what it is.
    pub(super) fn load(&self) -> Result<(Split, String), Error> {
        self.choose().map_err(Error::Data)
    }

    fn choose(&self) -> Result<(Split, String), DataError> {
        if let Some(dir) = &self.data {
            return Ok((load_dir(dir)?, format!("the files in {}", dir.display())));
        }
        if self.download {
            let dir = fetch()?;
            return Ok((load_dir(&dir)?, format!("the download in {}", dir.display())));
        }
        // without a home directory there is no cache, and nothing in it
        let cached = default_cache_dir().map(|cache| cache.join(CIFAR10.folder)).ok().filter(|dir| dir.is_dir());
        match cached {
            Some(dir) => Ok((load_dir(&dir)?, format!("the download in {}", dir.display()))),
            None => Ok((sample()?, "the embedded sample of CIFAR-10 (--download fetches all of it)".to_string())),
        }
    }
}

/// Fetches CIFAR-10 into the cache with a progress bar.
fn fetch() -> Result<PathBuf, DataError> {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(CIFAR10.bytes) } else { ProgressBar::hidden() };
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}")
    {
        bar.set_style(style);
    }
    let result = CIFAR10.fetch(&default_cache_dir()?, &mut |progress| match progress {
        Progress::Downloading { url, received, .. } => {
            bar.set_message(url.to_string());
            bar.set_position(received);
        }
        Progress::Verifying => bar.set_message("checking"),
        Progress::Unpacking { file } => bar.set_message(format!("unpacking {file}")),
    });
    bar.finish_and_clear();
    result
}
