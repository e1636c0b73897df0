/// An image in a format of its own, of which only the header is read so far.
protocol StillImage {
    var width: Int { get }
    var height: Int { get }
    /// Whether it may have colours.
    var isColored: Bool { get }

    /// The pixels, row after row.
    ///
    /// Transparency is left out; grey becomes three equal channels where three are wanted.
    ///
    /// - Parameter channels: 3, or 1 for an image without colours.
    /// - Returns: `[height, width, channels]`.
    /// - Throws: `DataError.malformed` where what it is made of is broken.
    func decode(channels: Int) throws(DataError) -> [UInt8]
}

extension StillImage {
    /// The most rows and columns.
    static var extentMax: Int { 2048 }

    /// Refuses extents that no image for training has.
    static func checkExtents(_ width: Int, _ height: Int, _ name: String) throws(DataError) {
        guard (1...extentMax).contains(width), (1...extentMax).contains(height) else {
            throw .malformed(
                file: name, expected: "1 to \(extentMax) rows and columns", found: "\(height)x\(width)")
        }
    }
}
