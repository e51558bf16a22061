//! Which images to train and to evaluate on.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use super::output::misuse;
use super::source::Chosen;
use crate::data::{CIFAR10, DataError, ImageFolder, Images, Progress, Split, default_cache_dir, load_dir, sample};
use crate::error::Error;

/// The data set: --data; else what --download has fetched before; else the embedded sample.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DataArgs {
    /// A directory with CIFAR-10's (or CIFAR-100's) binary files, or with train/ and test/ and in each a folder of PNG and
    /// JPEG files a class; or a .npz file with x_train, y_train, x_test and y_test. To test on, also a directory with a
    /// folder a class
    #[arg(long, value_name = "PATH", conflicts_with = "download")]
    data: Option<PathBuf>,
    /// Fetch CIFAR-10 from its official address, once, and use it
    #[arg(long)]
    download: bool,
}

impl DataArgs {
    /// Whether one of the options was given.
    pub(super) fn given(&self) -> bool {
        self.data.is_some() || self.download
    }

    /// Loads the data that the options name, images in folders in the size `image`, and says what it is.
    pub(super) fn load(&self, image: [usize; 3]) -> Result<(Split, String), Error> {
        let data = match &self.data {
            Some(path) => split(path, image)?,
            None => self.cifar()?,
        };
        expect_size(&data.0.train, image).map(|()| data)
    }

    /// Loads the images to test `network` on.
    pub(super) fn test(&self, network: &Chosen) -> Result<(Images, String), Error> {
        let image = network.image()?;
        let (test, origin) = match &self.data {
            Some(path) => tests(path, image)?,
            None => self.cifar().map(|(data, origin)| (data.test, origin))?,
        };
        expect_size(&test, image)?;
        let (given, known) = (test.classes(), network.classes()?);
        match given == known {
            true => Ok((test, origin)),
            false => Err(misuse("--data", format!("has {given} classes; {} tells {known} apart", network.name))),
        }
    }

    /// CIFAR-10: fetched now or before, or the sample.
    fn cifar(&self) -> Result<(Split, String), DataError> {
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

fn expect_size(images: &Images, size: [usize; 3]) -> Result<(), Error> {
    match images.shape() == size {
        true => Ok(()),
        false => Err(misuse("--data", format!("has images of {:?}; the network takes {size:?}", images.shape()))),
    }
}

fn split(path: &Path, image: [usize; 3]) -> Result<(Split, String), DataError> {
    if path.is_file() {
        return Ok((Split::read_npz(path)?, path.display().to_string()));
    }
    let parts = ["train", "test"].map(|part| path.join(part));
    if !parts.iter().all(|part| part.is_dir()) {
        let data = load_dir(path).map_err(|error| match error {
            DataError::NotFound { dir, looked_for } => {
                let looked_for = format!("{looked_for}, and for train/ and test/ with a folder of images a class");
                DataError::NotFound { dir, looked_for }
            }
            other => other,
        });
        return Ok((data?, format!("the files in {}", path.display())));
    }
    let [train, test] = parts.map(|part| ImageFolder::new(part).and_then(|folder| folder.images(image)));
    let data = Split { train: train?, test: test? };
    if data.train.class_names() != data.test.class_names() {
        let (train, test) = (data.train.class_names().join(", "), data.test.class_names().join(", "));
        let reason = format!("train/ has the classes {train}, test/ has {test}");
        return Err(DataError::Format { file: path.display().to_string(), reason });
    }
    Ok((data, format!("the images in {}", path.display())))
}

fn tests(path: &Path, image: [usize; 3]) -> Result<(Images, String), DataError> {
    let loaded =
        |folder: ImageFolder, dir: &Path| Ok((folder.images(image)?, format!("the images in {}", dir.display())));
    let test = path.join("test");
    if test.is_dir() {
        return loaded(ImageFolder::new(&test)?, &test);
    }
    match split(path, image) {
        Ok((data, origin)) => Ok((data.test, origin)),
        Err(missing @ DataError::NotFound { .. }) => match ImageFolder::new(path) {
            Ok(folder) => loaded(folder, path),
            Err(_) => Err(missing),
        },
        Err(error) => Err(error),
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
