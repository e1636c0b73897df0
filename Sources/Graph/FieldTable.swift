internal import JSON

/// The JSON fields of a layer type, each bound to the property that it fills.
///
/// Reading, writing and the schema all come from the one table, so they cannot disagree.
struct FieldTable<Layer: Sendable>: Sendable {
    struct Row: Sendable {
        let field: any AnyField
        let read: @Sendable (inout ObjectReader, inout Layer) -> Void
        let write: @Sendable (Layer) -> JSONValue

        /// A field that is a property as it stands.
        static func bind<Value>(
            _ field: Field<Value>, _ path: any WritableKeyPath<Layer, Value> & Sendable
        ) -> Row {
            Row(
                field: field, read: { reader, layer in layer[keyPath: path] = reader.read(field) },
                write: { field.json(of: $0[keyPath: path]) })
        }
    }

    /// What the rows are read into.
    let blank: Layer
    let rows: [Row]

    var fields: [any AnyField] { rows.map(\.field) }

    func read(_ reader: inout ObjectReader) -> Layer {
        var layer = blank
        for row in rows { row.read(&reader, &layer) }
        return layer
    }

    /// Every member but those that are off.
    func members(of layer: Layer) -> [(String, JSONValue)] {
        rows.map { ($0.field.name, $0.write(layer)) }.filter { !$0.1.isNull }
    }
}

/// A layer's description that is read and written by a table.
protocol TabledLayer: Sendable {
    static var table: FieldTable<Self> { get }
}

extension TabledLayer {
    var members: [(String, JSONValue)] { Self.table.members(of: self) }
}

extension FieldTable.Row where Layer: WindowedLayer {
    /// `padding`, where `"same"` keeps the extents of an image that is not strided; after the kernel's row.
    static var padding: Self {
        Self(
            field: LayerFields.padding,
            read: { reader, layer in layer.padding = WindowFields.readPadding(&reader, layer) },
            write: { WindowFields.zeros.json(of: $0.padding) })
    }
}

/// A layer whose window may be padded to keep the image's extents.
protocol WindowedLayer: Sendable {
    var kernelSize: Pair { get }
    var stride: Pair { get }
    var dilation: Pair { get }
    var padding: Pair { get set }
}

/// Reading paddings.
enum WindowFields {
    static let zeros = Field.pair("padding", default: Pair(0, 0), in: 0...1024, "Zeros on every side.")

    /// Needs the other fields of the window, so its row is their last.
    static func readPadding(_ reader: inout ObjectReader, _ layer: some WindowedLayer) -> Pair {
        guard let text = reader.raw("padding")?.stringValue else { return reader.read(zeros) }
        let reach = Pair(
            layer.dilation.first * (layer.kernelSize.first - 1),
            layer.dilation.second * (layer.kernelSize.second - 1))
        let place = reader.pointer(to: "padding")
        if text != "same" {
            reader.log.add(place, "invalid_value", "expected a number, a pair or \"same\", found \"\(text)\"")
        } else if layer.stride != Pair(1, 1) {
            reader.log.add(place, "invalid_value", "\"same\" padding needs a stride of 1")
        } else if reach.first % 2 != 0 || reach.second % 2 != 0 {
            reader.log.add(place, "invalid_value", "\"same\" padding needs a kernel of odd extents")
        }
        return Pair(reach.first / 2, reach.second / 2)
    }
}
