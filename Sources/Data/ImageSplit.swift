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
