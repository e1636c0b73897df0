public import Graph
public import JSON

/// The JSON fields of an element of `distill.features`.
enum FeatureFields {
    /// Comparisons at the most.
    static let countMax = 16

    static let student = Field.string("student", "The student's layer, by name.")
    static let teacher = Field.string("teacher", "The teacher's layer, by name.")
    static let loss = Field.choice(
        "loss", of: FeatureComparison.Loss.self, default: .mse,
        "mse: the mean squared difference; cosine: 1 - cosine of the angle between all elements of a sample; "
            + "attention: the mean squared difference of where in the image the activations are large.")
    static let adapter = Field.choice(
        "adapter", of: FeatureComparison.Adapter.self, default: .linear,
        "What is learned to bring the student's channels to the teacher's; by default none for cosine and "
            + "attention. linear: a product over the channels of each position; conv1x1: the same of images "
            + "alone; none where the shapes agree.")
    static let weight = Field.number(
        "weight", default: 100, in: 0...1e9, exclusiveMinimum: true,
        "What the loss is multiplied by; by default 100 for mse, 0.25 for cosine, 1000 for attention.")
    static let schema = ObjectSchema(
        "feature", "Two layers that are compared.", fields: [student, teacher, loss, adapter, weight])
    static let list = Field.optionalObjects(
        "features", count: 1...countMax, each: schema,
        "Layers of the student that are to come close to layers of the one teacher, besides the outputs.")
}

extension DistillOptions {
    /// Reads `features`, each of which says in the resolved document what its loss is used with.
    mutating func readFeatures(_ reader: inout ObjectReader) {
        guard let values = reader.read(FeatureFields.list) else { return }
        var resolved: [JSONValue] = []
        for (index, value) in values.enumerated() {
            let place = JSONPointer.element(index, of: reader.pointer(to: FeatureFields.list.name))
            var nested = ObjectReader(value, as: FeatureFields.schema, at: place, log: reader.log)
            let (student, teacher) = (nested.read(FeatureFields.student), nested.read(FeatureFields.teacher))
            let loss = nested.read(FeatureFields.loss)
            var feature = FeatureComparison(student: student, teacher: teacher, loss: loss)
            let (adapter, weight) = (nested.read(FeatureFields.adapter), nested.read(FeatureFields.weight))
            if nested.contains(FeatureFields.adapter.name) { feature.adapter = adapter }
            if nested.contains(FeatureFields.weight.name) { feature.weight = weight }
            nested.finish()
            nested.resolve("adapter", as: .string(feature.adapter.rawValue))
            nested.resolve("weight", as: .number(feature.weight))
            resolved.append(.object(nested.resolved))
            features.append(feature)
        }
        reader.resolve(FeatureFields.list.name, as: .array(resolved))
    }

    /// A student's graph with its features and what is learned beside them.
    ///
    /// Throws every violation: an unknown layer, two that cannot be compared, several teachers; `pointer` is
    /// where the features are described.
    public func comparing(
        _ student: Graph, with teachers: [Graph], at pointer: String = ""
    ) throws(InvalidInput) -> Graph {
        guard !features.isEmpty else { return student }
        guard teachers.count == 1 else {
            throw InvalidInput(
                pointer: pointer, code: "invalid_value",
                detail: "features are compared with one teacher's, and there are \(teachers.count)")
        }
        return try student.comparing(features, with: teachers[0], at: pointer)
    }

    /// What a teacher's plan has to keep for the features; nothing for a layer that it has not.
    func kept(of teacher: Graph) -> [Graph.ValueID] {
        teacher.outputs(comparedBy: features).compactMap(\.self)
    }
}
