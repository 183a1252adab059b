import OrderedCollections

extension TensorArchive {
  /// The name under which the constants of a TorchScript archive are read, as its code calls them.
  static let constantsName = "CONSTANTS"

  /// Adds the constants of a TorchScript archive beside its attributes.
  ///
  /// - Throws: `FormatError` when an attribute has one of their names.
  mutating func add(constants: TensorArchive) throws {
    for (name, tensor) in constants.tensors {
      guard tensors.updateValue(tensor, forKey: name) == nil, values[name] == nil else {
        throw FormatError.malformed("an attribute and a constant have this name", tensor: name)
      }
    }
    for (name, value) in constants.values {
      guard values.updateValue(value, forKey: name) == nil, tensors[name] == nil else {
        throw FormatError.malformed("an attribute and a constant have this name", tensor: name)
      }
    }
    if case .dictionary(let entries, let isOrdered)? = structure, let added = constants.structure {
      structure = .dictionary(
        entries + [.init(key: .text(Self.constantsName), value: added)], isOrdered: isOrdered)
    } else {
      structure = nil
    }
    notes += constants.notes
  }
}

extension PyTorchObjectReader {
  /// The constants of a TorchScript archive: `CONSTANTS.c0`, `CONSTANTS.c1`, …
  mutating func readConstants() throws -> TensorArchive {
    guard let items = sequence(graph.root) else {
      throw FormatError.malformed("the constants are no tuple")
    }
    var entries: [ArchiveStructure.Entry] = []
    for (index, item) in items.enumerated() {
      entries.append(try entry("c\(index)", item, in: TensorArchive.constantsName))
    }
    return archive(of: .dictionary(entries, isOrdered: false))
  }
}
