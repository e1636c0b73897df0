internal import JSON

/// A choice, of an optimiser say, that decides which of the fields beside it mean anything.
protocol FieldOwner: RawRepresentable<String>, CaseIterable, Sendable {
    /// The fields that not every choice has.
    var fields: Set<String> { get }
}

extension FieldOwner {
    /// Whether the choice takes a field.
    func takes<Value>(_ field: Field<Value>) -> Bool { fields.contains(field.name) }

    /// Logs every field that was sent but belongs to other choices, which it names; says nothing where the
    /// choice itself, the member `choice`, was refused.
    func refuseFieldsOfOthers(in reader: ObjectReader, choice: Field<Self>) {
        guard reader.resolved[choice.name] == .string(rawValue) else { return }
        let others = Self.allCases.reduce(into: Set<String>()) { $0.formUnion($1.fields) }.subtracting(fields)
        for field in others.sorted() where !(reader.raw(field)?.isNull ?? true) {
            let owners = Self.allCases.filter { $0.fields.contains(field) }.map(\.rawValue)
            reader.log.add(
                reader.pointer(to: field), "invalid_value",
                "\(rawValue) takes no \(field); it is for \(owners.joined(separator: ", "))")
        }
    }
}
