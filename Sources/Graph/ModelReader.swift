internal import JSON
internal import Tensor

/// Reads one model and checks it against the data that it is for.
struct ModelReader {
    let pointer: String
    let data: DataShape
    let log: ViolationLog

    func read(_ value: JSONValue) -> ModelSpec? {
        let before = log.violations.count
        let draft = value["preset"] == nil ? readLayered(value) : readPreset(value)
        guard let draft, let input = draft.input else { return nil }
        var references = References(log: log)
        references.check(draft.layers, at: draft.place)
        let inputValue = ModelSpec.inputValue(input, draft.layers)
        checkTokens(inputValue, draft)
        // Up to the first layer that cannot be read: what follows it has no known input.
        let graph = ShapeInference.graph(of: draft.layers, input: inputValue, at: draft.place, log: log)
        guard let graph, log.violations.count == before, !log.isFull else { return nil }
        checkOutput(graph)
        guard log.violations.count == before, !log.isFull else { return nil }
        return ModelSpec(
            input: input, layers: draft.layers.compactMap(\.self), initialization: draft.initialization,
            graph: graph)
    }

    /// What the document says, before it is known whether it fits.
    private struct Draft {
        let input: Shape?
        /// nil for what cannot be read.
        let layers: [LayerSpec?]
        let initialization: Initialization
        /// Where the layers stand.
        let place: Place
    }

    private func readLayered(_ value: JSONValue) -> Draft? {
        var reader = ObjectReader(value, as: ModelFields.layered, at: pointer, log: log)
        let initialization = reader.read(ModelFields.initialization)
        let input = readInput(&reader, isRequired: true)
        let place = Place(pointer: reader.pointer(to: "layers"))
        let list = reader.read(ModelFields.layers)
        var layers = LayerReader(data: data, log: log)
        let read = reader.contains("layers") ? layers.read(list, at: place.pointer) : nil
        reader.finish()
        return read.map { Draft(input: input, layers: $0, initialization: initialization, place: place) }
    }

    private func readPreset(_ value: JSONValue) -> Draft? {
        var probe = ObjectReader(
            value, as: ObjectSchema("preset", "A model by name.", fields: [ModelFields.presetName]),
            at: pointer, log: log)
        let before = log.violations.count
        let preset = probe.read(ModelFields.presetName)
        guard log.violations.count == before, !log.isFull else { return nil }
        var reader = ObjectReader(value, as: ModelFields.schema(of: preset), at: pointer, log: log)
        _ = reader.read(ModelFields.presetName)
        let initialization = reader.read(ModelFields.initialization)
        var input = readInput(&reader, isRequired: !preset.readsTokens)
        if preset.readsTokens { input = readContext(&reader, input) }
        let layers = preset.layers(&reader, input: input, data: data)
        reader.finish()
        let place = Place(pointer: reader.pointer(to: "preset"), isWritten: false)
        return layers.map { Draft(input: input, layers: $0, initialization: initialization, place: place) }
    }

    /// A model's own input, or the dataset's.
    private func readInput(_ reader: inout ObjectReader, isRequired: Bool) -> Shape? {
        let place = reader.pointer(to: "input")
        guard let given = reader.read(ModelFields.input) else {
            if data.input == nil, isRequired {
                log.add(place, "missing_field", "\"input\" is required")
            }
            return data.input
        }
        guard let shape = try? Shape(given) else {
            log.add(place, "too_large", "the input has more than \(Shape.elementCountMax) elements")
            return nil
        }
        if let samples = data.input, samples != shape {
            log.add(
                place, "shape_mismatch", "the dataset's samples are \(samples), the model takes \(shape)")
        }
        return shape
    }

    /// The number of tokens of a preset that reads them: its context, its input, the data's, or 64.
    private func readContext(_ reader: inout ObjectReader, _ input: Shape?) -> Shape? {
        guard let given = reader.read(ModelFields.context) else {
            if let input, input.rank != 1 {
                log.add(
                    reader.pointer(to: "input"), "shape_mismatch",
                    "expected the number of tokens, found \(input)")
            }
            return input ?? (try? Shape([ModelFields.defaultContext]))
        }
        if let input, input.dimensions != [given] {
            log.add(
                reader.pointer(to: "context"), "shape_mismatch", "the input is \(input), the context \(given)"
            )
        }
        return try? Shape([given])
    }

    private func checkTokens(_ input: Graph.Value, _ draft: Draft) {
        // A first layer that cannot be read says nothing of the input.
        guard let isTokens = data.isTokens, let first = draft.layers.first, first != nil else { return }
        if isTokens, input.element == .real {
            draft.place.element(0).add(
                "shape_mismatch", "the dataset's samples are tokens; the first layer must be an embedding",
                log)
        } else if !isTokens, input.element == .token {
            draft.place.element(0).add(
                "shape_mismatch", "the dataset's samples are numbers, no tokens to embed", log)
        } else if input.element == .token, input.shape.rank != 1 {
            log.add(
                JSONPointer.member("input", of: pointer), "shape_mismatch",
                "expected the number of tokens, found \(input.shape)")
        }
    }

    private func checkOutput(_ graph: Graph) {
        guard let target = data.target else { return }
        let found = graph.outputShape
        let isFit: Bool
        let wanted: String
        switch target {
        case .classes(let count):
            (isFit, wanted) = (found.dimensions == [count], "the dataset has \(count) classes")
        case .tokens(let count):
            isFit = found.dimensions == graph.inputShape.dimensions + [count]
            wanted = "the next of \(count) tokens is foretold at each place"
        case .perToken(let count):
            isFit = found.rank == 2 && found[0] == graph.inputShape[0] && found[1] == count
            wanted = "the dataset has one of \(count) classes for each token"
        }
        guard !isFit else { return }
        log.add(pointer, "shape_mismatch", "\(wanted), the model's output is \(found)")
    }
}
