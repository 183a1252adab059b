extension TensorArchive {
  /// Adds an array under `name`: numbers and raw bytes as a tensor, texts as values.
  ///
  /// An array of texts with axes becomes a value for each item, named by its indices
  /// (`names.0.2`), inside nested lists.
  ///
  /// - Returns: where the tensor or the values stand.
  mutating func add(_ array: NPYArray, named name: String) throws -> ArchiveStructure {
    guard array.holdsTexts else {
      tensors[name] = try array.tensor()
      return .leaf(name)
    }
    var texts = try array.texts()[...]
    return try addTexts(&texts, dimensions: array.header.shape.dimensions[...], named: name)
  }

  /// Adds the content of an array of objects, which is one pickle.
  ///
  /// - Throws: `FormatError` when the pickle cannot be read as data.
  mutating func add(objects pickle: SharedBytes, named name: String) throws -> ArchiveStructure {
    var reader = ByteReader(pickle)
    let graph = try PickleMachine.read(from: &reader, byteLimit: .max)
    guard reader.isAtEnd else {
      throw FormatError.malformed("\(counted(reader.remaining, "byte")) after the pickle")
    }
    var objects = PyTorchObjectReader(graph: graph, storages: PyTorchNoStorages())
    let content = try objects.read(named: name)
    for (name, tensor) in content.tensors {
      guard values[name] == nil, tensors.updateValue(tensor, forKey: name) == nil else {
        throw FormatError.malformed("two arrays have the name", tensor: name)
      }
    }
    for (name, value) in content.values {
      guard tensors[name] == nil, values.updateValue(value, forKey: name) == nil else {
        throw FormatError.malformed("two values have the name", tensor: name)
      }
    }
    notes += content.notes.filter { !notes.contains($0) }
    unread += content.unread
    return content.structure ?? .dictionary([], isOrdered: false)
  }

  private mutating func addTexts(
    _ texts: inout ArraySlice<ArchiveValue>, dimensions: ArraySlice<Int>, named name: String
  ) throws -> ArchiveStructure {
    guard let dimension = dimensions.first else {
      guard values[name] == nil else {
        throw FormatError.malformed("two values have the name", tensor: name)
      }
      values[name] = texts.popFirst()
      return .leaf(name)
    }
    guard !texts.isEmpty else { return .list([]) }
    return .list(
      try (0..<dimension).map { index in
        try addTexts(
          &texts, dimensions: dimensions.dropFirst(),
          named: ArchiveStructure.join(name, "\(index)"))
      })
  }
}
