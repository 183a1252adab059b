extension TensorArchive {
  /// Adds an array under `name`: numbers as a tensor, texts as values.
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
