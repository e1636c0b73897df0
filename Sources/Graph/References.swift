internal import JSON

/// Checks what layers say of one another, before their shapes are known: names, inputs, ties.
///
/// A layer that could not be read is nil; complaints that its name might have answered are left out.
struct References {
    private struct Frame {
        let layers: [LayerSpec?]
        /// The layers so far, by name.
        var places: [String: Int] = [:]
        var isRead: [Bool]

        init(_ layers: [LayerSpec?]) {
            self.layers = layers
            isRead = layers.map { _ in false }
        }
    }

    let log: ViolationLog
    private var frames: [Frame] = []
    /// Whether a name was wrong: the layer that it meant would seem unread.
    private var hasUnknownNames = false

    init(log: ViolationLog) { self.log = log }

    mutating func check(_ layers: [LayerSpec?], at place: Place, reserved: String? = nil) {
        frames.append(Frame(layers))
        let depth = frames.count - 1
        for (index, layer) in layers.enumerated() {
            let at = place.element(index)
            guard let layer else {
                if index > 0 { frames[depth].isRead[index - 1] = true }
                continue
            }
            checkName(layer.name, at: at, reserved: reserved)
            checkInputs(of: layer, index, at: at)
            if case .linear(let linear) = layer.kind, let owner = linear.tiedTo {
                checkTie(to: owner, at: at)
            }
            switch layer.kind {
            case .sequential(let nested): check(nested, at: at.member("layers"))
            case .residual(let nested, let shortcut):
                check(nested, at: at.member("layers"), reserved: LayerSpec.shortcutName)
                check(shortcut, at: at.member("shortcut"))
            default: break
            }
            if frames[depth].places[layer.name] != nil {
                at.add("name", "invalid_value", "another layer is called \"\(layer.name)\" already", log)
            } else {
                frames[depth].places[layer.name] = index
            }
        }
        if let frame = frames.popLast() { checkAllRead(frame, place) }
    }

    private func checkName(_ name: String, at place: Place, reserved: String?) {
        if !LayerSpec.isName(name) {
            place.add(
                "name", "invalid_value",
                "expected letters, digits, '_' and '-', found \(JSONValue.string(name).summary)", log)
        } else if name == LayerSpec.inputName || name == reserved {
            place.add("name", "invalid_value", "\"\(name)\" has a meaning of its own here", log)
        }
    }

    private mutating func checkInputs(of layer: LayerSpec, _ index: Int, at place: Place) {
        let counts = layer.kind.typeName.inputCounts
        if layer.inputs.isEmpty, counts.lowerBound > 1 {
            place.add("inputs", "missing_field", "\"inputs\" is required", log)
        } else if !layer.inputs.isEmpty, !counts.contains(layer.inputs.count) {
            let wanted = counts.count == 1 ? "one input" : "\(counts.lowerBound) inputs or more"
            place.add("inputs", "invalid_value", "expected \(wanted), found \(layer.inputs.count)", log)
        }
        if layer.inputs.isEmpty, index > 0 { frames[frames.count - 1].isRead[index - 1] = true }
        for (number, name) in layer.inputs.enumerated() where name != LayerSpec.inputName {
            let at = layer.inputs.count == 1 ? place.member("inputs") : place.member("inputs").element(number)
            if let (depth, found) = find(name) {
                frames[depth].isRead[found] = true
            } else {
                complain(of: name, at: at)
            }
        }
    }

    private mutating func checkTie(to owner: String, at place: Place) {
        let at = place.member("tied_to")
        guard let (depth, index) = find(owner) else { return complain(of: owner, at: at) }
        switch frames[depth].layers[index]?.kind {
        case .embedding, .linear: break
        default: at.add("invalid_value", "\"\(owner)\" is no embedding and no linear layer", log)
        }
    }

    /// The earlier layer of a name, in the nearest list that has one.
    private func find(_ name: String) -> (depth: Int, index: Int)? {
        for depth in frames.indices.reversed() {
            if let index = frames[depth].places[name] { return (depth, index) }
        }
        return nil
    }

    private mutating func complain(of name: String, at place: Place) {
        hasUnknownNames = true
        if frames.contains(where: { $0.layers.contains { $0?.name == name } }) {
            place.add("unknown_layer", "\"\(name)\" is not complete before this layer", log)
        } else if !frames.contains(where: { $0.layers.contains { $0 == nil } }) {
            let known = frames.reversed().flatMap { frame in
                frame.places.sorted { $0.value > $1.value }.map(\.key)
            }
            place.add(
                "unknown_layer",
                Spelling.complaint(
                    unknown: "layer", name, among: Array(known.prefix(64)) + [LayerSpec.inputName]), log)
        }
    }

    private func checkAllRead(_ frame: Frame, _ place: Place) {
        guard !hasUnknownNames, !frame.layers.contains(where: { $0 == nil }) else { return }
        for (index, layer) in frame.layers.enumerated().dropLast() where !frame.isRead[index] {
            place.element(index).add(
                "unused_layer", "nothing reads \"\(layer?.name ?? "")\" and it is not the last", log)
        }
    }
}

/// Where a layer or a field stands in the document, or what stands for it: a preset's layers do not.
struct Place {
    let pointer: String
    /// Whether what is inside can be pointed at.
    var isWritten = true

    func member(_ name: String) -> Place {
        isWritten ? Place(pointer: JSONPointer.member(name, of: pointer)) : self
    }

    func element(_ index: Int) -> Place {
        isWritten ? Place(pointer: JSONPointer.element(index, of: pointer)) : self
    }

    func add(_ code: String, _ detail: String, _ log: ViolationLog) { log.add(pointer, code, detail) }

    func add(_ field: String, _ code: String, _ detail: String, _ log: ViolationLog) {
        member(field).add(code, detail, log)
    }

    /// The error that ends an inference.
    func refusal(_ code: String, _ detail: String) -> InvalidInput {
        InvalidInput(pointer: pointer, code: code, detail: detail)
    }

    /// The error of a field that ends an inference.
    func refusal(_ field: String, _ code: String, _ detail: String) -> InvalidInput {
        member(field).refusal(code, detail)
    }
}
