import Files
import Foundation
import Testing

@testable import Data

@Suite("A look at a dataset's images") struct ImagePreviewTests {
    @Test(
        "is a PNG of their pixels, or of squares of them",
        arguments: [
            ImageShape(height: 28, width: 28, channels: 1), ImageShape(height: 32, width: 32, channels: 3),
            ImageShape(height: 1, width: 7, channels: 2), ImageShape(height: 65, width: 40, channels: 3),
            ImageShape(height: 3, width: 5000, channels: 1),
        ])
    func shrinks(shape: ImageShape) throws {
        let image = (0..<shape.elementCount).map { UInt8(truncatingIfNeeded: $0 &* 37 ^ $0 >> 5) }
        let small = Thumbnail(image[...], shape)
        #expect(max(small.height, small.width) <= ImagePreview.sideMax)
        // The reader has nothing in common with the writer.
        let reader = try PNGReader(small.png, of: "preview.png")
        #expect((reader.width, reader.height) == (small.width, small.height))
        #expect(try reader.decode(channels: small.channels) == small.pixels)
        let factor = (max(shape.height, shape.width) + 31) / 32
        if factor == 1, shape.channels != 2 { #expect(small.pixels == image) }
        // The last square, which may be cut off, by hand.
        let (top, left) = ((small.height - 1) * factor, (small.width - 1) * factor)
        let square = (top..<shape.height).flatMap { row in
            (left..<shape.width).map { Int(image[(row * shape.width + $0) * shape.channels]) }
        }
        let mean = Int((Double(square.reduce(0, +)) / Double(square.count) + 0.5).rounded(.down))
        #expect(Int(small.pixels[small.pixels.count - small.channels]) == mean)
    }

    @Test("has the first training samples with their labels")
    func first() throws {
        let catalogue = DatasetCatalogue(folder: "/nowhere", systemFolder: "/usr/share/datasets")
        let found = try catalogue.preview("fashion-mnist")
        #expect(found.map(\.label) == ["Ankle boot", "T-shirt/top", "T-shirt/top", "Dress"])
        for preview in found {
            #expect(preview.png.count < 2000)
            let reader = try PNGReader(preview.png, of: "preview.png")
            #expect((reader.width, reader.height) == (28, 28))
        }
    }
}
