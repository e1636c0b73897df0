import Files

/// One of the first training images of a dataset, for people.
public struct ImagePreview: Sendable, Equatable {
    /// The name of its class.
    public let label: String
    /// A PNG of at most `sideMax` pixels a side: in colour where the image has three channels, else the first
    /// channel in grey.
    public let png: [UInt8]

    /// The largest side, in pixels.
    public static let sideMax = 32
    /// How many there are of a dataset.
    public static let countMax = 4
    /// The most that is read for them.
    static let byteCountMax = 8 << 20
}

extension DatasetCatalogue {
    /// The first images of a dataset's training split; none of other kinds, and none of images so large that
    /// looking at one takes long.
    ///
    /// - Throws: `DataError` when the files cannot be read.
    public func preview(_ nameOrID: String) throws(DataError) -> [ImagePreview] {
        let entry = try entry(nameOrID)
        guard let images = entry.info.images else { return [] }
        let size = images.shape.elementCount
        guard size > 0 else { return [] }
        let count = min(ImagePreview.countMax, entry.info.trainCount, ImagePreview.byteCountMax / size)
        guard count > 0 else { return [] }
        let files = try IDXFiles(in: entry.folder).train
        let bytes = try IDXReader(files.images, rank: 3...4).read(upTo: count * size)
        let labels = try IDXReader(files.labels, rank: 1...1).read(upTo: count)
        guard bytes.count == count * size, labels.count == count else { return [] }
        return labels.enumerated().map { index, label in
            let name = images.classNames.indices.contains(Int(label)) ? images.classNames[Int(label)] : ""
            let image = bytes[index * size..<(index + 1) * size]
            return ImagePreview(label: name, png: Thumbnail(image, images.shape).png)
        }
    }
}

/// A small picture of an image: each of its pixels is the mean of a square.
struct Thumbnail {
    let width: Int
    let height: Int
    /// 3 for colour, 1 for grey.
    let channels: Int
    /// `[height, width, channels]`.
    private(set) var pixels: [UInt8] = []

    /// Shrinks `[height, width, channels]` bytes by a whole factor, the least that makes them small enough.
    init(_ image: ArraySlice<UInt8>, _ shape: ImageShape) {
        let factor = (max(shape.height, shape.width) + ImagePreview.sideMax - 1) / ImagePreview.sideMax
        channels = shape.channels == 3 ? 3 : 1
        (height, width) = ((shape.height + factor - 1) / factor, (shape.width + factor - 1) / factor)
        pixels.reserveCapacity(height * width * channels)
        for top in stride(from: 0, to: shape.height, by: factor) {
            for left in stride(from: 0, to: shape.width, by: factor) {
                for channel in 0..<channels {
                    var (sum, count) = (0, 0)
                    for row in top..<min(top + factor, shape.height) {
                        for column in left..<min(left + factor, shape.width) {
                            let place = (row * shape.width + column) * shape.channels + channel
                            sum += Int(image[image.startIndex + place])
                            count += 1
                        }
                    }
                    pixels.append(UInt8(clamping: (sum + count / 2) / count))
                }
            }
        }
    }

    /// The picture as a PNG, not compressed: it is smaller than a page of memory.
    var png: [UInt8] {
        let header = Self.big(width) + Self.big(height) + [8, channels == 3 ? 2 : 0, 0, 0, 0]
        let stride = width * channels
        // Before each row the number of its filter: none.
        let rows = (0..<height).flatMap { [0] + pixels[$0 * stride..<($0 + 1) * stride] }
        let count = UInt16(clamping: rows.count)
        let block = [count, ~count].flatMap { [UInt8($0 & 0xFF), UInt8($0 >> 8)] }
        let data = [0x78, 0x01, 0x01] + block + rows + Self.big(Int(Adler32(of: rows).value))
        return [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
            + Self.chunk("IHDR", header) + Self.chunk("IDAT", data) + Self.chunk("IEND", [])
    }

    private static func chunk(_ type: StaticString, _ content: [UInt8]) -> [UInt8] {
        let named = Array("\(type)".utf8) + content
        var checksum = CRC32()
        checksum.update(named)
        return big(content.count) + named + big(Int(checksum.value))
    }

    private static func big(_ value: Int) -> [UInt8] {
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
    }
}
