import Storage

/// Plans the description and the weights of an ncnn network.
package struct NCNNWriter: Sendable {
  /// A weight in the order of the layers.
  package struct Weight: Sendable {
    let name: String
    /// How the elements are stored, if a tag says so; others are `float32`.
    let storage: NCNNStorage?
    let elementCount: Int
    /// Loads the elements as they are stored.
    let load: @Sendable () throws -> SharedBytes

    /// A weight without a tag, in `float32`.
    package init(_ name: String, count: Int, load: @escaping @Sendable () throws -> [Float]) {
      (self.name, storage, elementCount) = (name, nil, count)
      self.load = { SharedBytes(elementsOf: try load()) }
    }

    /// A weight with a tag, in `float32` or `float16`.
    ///
    /// - Parameter isHalf: whether it is stored in `float16`; what that cannot hold is an error when
    ///   the file is written.
    package init(
      tagged name: String, count: Int, isHalf: Bool, load: @escaping @Sendable () throws -> [Float]
    ) {
      (self.name, storage, elementCount) = (name, isHalf ? .float16 : .float32, count)
      self.load = {
        let values = try load()
        guard isHalf else { return SharedBytes(elementsOf: values) }
        let halves = values.map(Float16.init)
        guard halves.allSatisfy(\.isFinite) else {
          throw ModelError.unsupported("it has values that float16 cannot hold", tensor: name)
        }
        return SharedBytes(elementsOf: halves)
      }
    }

    /// A weight with a tag, in `int8`.
    package init(
      codes name: String, count: Int, load: @escaping @Sendable () throws -> [Int8]
    ) {
      (self.name, storage, elementCount) = (name, .int8, count)
      self.load = { SharedBytes(elementsOf: try load()) }
    }

    /// The bytes in the file: the tag, the elements and what fills them up to whole words.
    package var byteCount: Int {
      let elements = (storage ?? .float32).byteCount(elementCount) ?? .max
      return (storage == nil ? 0 : 4) + elements.roundedUp(toMultipleOf: 4)
    }

    fileprivate func bytes() throws -> SharedBytes {
      let elements = try load()
      let tag = storage?.tag.map { SharedBytes(elementsOf: [$0]) }
      let rest = elements.count.roundedUp(toMultipleOf: 4) - elements.count
      return SharedBytes(
        joining: [tag ?? SharedBytes(), elements, SharedBytes([UInt8](repeating: 0, count: rest))])
    }
  }

  private let description: NCNNDescription
  private let weights: [Weight]

  /// - Throws: `ModelError` when a name has what separates words, or is longer than ncnn reads.
  package init(_ description: NCNNDescription, weights: [Weight]) throws {
    for name in description.layers.flatMap({ [$0.name] + $0.inputs + $0.outputs }) {
      guard !name.isEmpty, name.utf8.count <= 255, !name.contains(where: \.isWhitespace) else {
        throw ModelError.unsupported("ncnn does not read the name '\(name)'")
      }
    }
    self.description = description
    self.weights = weights
  }

  /// Plans a `.param` file and the `.bin` file beside it.
  package func plan() -> PlannedOutput {
    var offset = 0
    var records: [PlannedRecord<Never>] = []
    for weight in weights {
      records.append(
        PlannedRecord(
          name: weight.name, names: [weight.name], offset: offset, byteCount: weight.byteCount,
          sourceByteCount: weight.byteCount
        ) { MadeRecord(try weight.bytes()) })
      offset += weight.byteCount
    }
    return PlannedOutput(
      file: PlannedFile(content: SharedBytes(description.text.utf8)),
      beside: [("bin", PlannedFile(records) { _ in [] })])
  }
}
