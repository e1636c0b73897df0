/// The extents of one image.
public struct ImageShape: Sendable, Hashable {
    /// Rows.
    public let height: Int
    /// Columns.
    public let width: Int
    /// Values per pixel: 1 for grey, 3 for colour.
    public let channels: Int

    /// Names the three extents.
    public init(height: Int, width: Int, channels: Int) {
        self.height = height
        self.width = width
        self.channels = channels
    }

    /// Values, and bytes, of one image.
    public var elementCount: Int { height * width * channels }
}

/// Labelled images of one split.
public struct ImageSplit: Sendable {
    /// `[count, height, width, channels]`, one byte per value.
    public let images: [UInt8]
    /// `[count]`, each below the dataset's class count.
    public let labels: [UInt8]

    /// Number of samples.
    public var count: Int { labels.count }
}

/// What is known about a dataset without decoding it.
public struct DatasetInfo: Sendable, Equatable {
    /// `dst_...`.
    public let id: String
    /// Unique, as people write it in a job.
    public let name: String
    /// Extents of every image.
    public let shape: ImageShape
    /// One name per class, in the order of the labels.
    public let classNames: [String]
    /// Samples of the training split.
    public let trainCount: Int
    /// Samples of the validation split; 0 when there is none.
    public let validationCount: Int
    /// Samples of the test split.
    public let testCount: Int
    /// Per channel, of the training split's values divided by 255.
    public let mean: [Double]
    /// Per channel, of the training split's values divided by 255 (of the population; 1 where it is 0).
    public let standardDeviation: [Double]
    /// Hex SHA-256 of the decoded content, the same for plain and compressed files.
    public let sha256: String
    /// Decoded size in bytes.
    public let byteCount: Int
    /// When it was registered, in Unix seconds.
    public let createdAt: Double

    /// Number of classes.
    public var classCount: Int { classNames.count }
}

/// A decoded dataset: immutable, shared by all jobs that read it.
public final class ImageDataset: Sendable {
    /// Its description.
    public let info: DatasetInfo
    /// What networks are trained on.
    public let train: ImageSplit
    /// What training is watched on, if the dataset brings such a split.
    public let validation: ImageSplit?
    /// What the final report is measured on.
    public let test: ImageSplit

    init(info: DatasetInfo, train: ImageSplit, validation: ImageSplit?, test: ImageSplit) {
        self.info = info
        self.train = train
        self.validation = validation
        self.test = test
    }
}
