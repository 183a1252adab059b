import Storage

/// A tensor to be packed, and how to pack it.
///
/// `Cost` describes the cost of quantizing it; it is `Never` in files whose tensors keep their
/// bits.
package struct PackedItem<Cost: Sendable>: Sendable {
  /// The tensor's full name, unique in its file.
  package var name: String
  /// The tensor's role in its model, which decides how ratios count it.
  package var role: TensorRole
  /// The tensor in full precision; its bytes are read when its record is made.
  package var source: Tensor
  /// How its record is made.
  package var action: Action

  /// How a tensor is packed.
  package enum Action: Sendable {
    /// Keeps every bit, in the smallest lossless encoding.
    case keep
    /// Stores codes, whose length is known in advance.
    ///
    /// `method` names the way in which `quantize` finds the parameters, so that equal sources with
    /// equal methods are stored once.
    case quantize(
      AffineSpec, method: String,
      quantize: @Sendable () throws -> (tensor: QuantizedTensor, cost: Cost?))
  }

  package init(name: String, role: TensorRole, source: Tensor, action: Action) {
    self.name = name
    self.role = role
    self.source = source
    self.action = action
  }

  fileprivate var sharingKey: SharingKey {
    switch action {
    case .keep:
      SharingKey(
        elementType: source.elementType, shape: source.shape, encoding: nil, method: nil)
    case .quantize(let encoding, let method, _):
      SharingKey(
        elementType: source.elementType, shape: source.shape, encoding: encoding,
        method: method)
    }
  }
}

/// The properties that must agree, besides the source's bytes, for two items to share a record,
/// which then has the first one's role.
private struct SharingKey: Hashable {
  let elementType: ElementType
  let shape: Shape
  let encoding: AffineSpec?
  let method: String?
}

extension Array {
  /// Returns, for each item, the index of the first item with the same key and the same bytes,
  /// which may be its own.
  ///
  /// Only tensors with equal keys are read, and only samples of them unless those agree.
  func originals<Cost>() throws -> [Int] where Element == PackedItem<Cost> {
    var originals = [Int](indices)
    let groups = Dictionary(grouping: indices) { self[$0].sharingKey }
    for group in groups.values where group.count > 1 {
      var firstOfSample: [UInt32: [Int]] = [:]
      for index in group {
        try locatingErrors(tensor: self[index].name) {
          let bytes = try self[index].source.bytes()
          let sample = bytes.sampleChecksum
          let original = try firstOfSample[sample, default: []].first { candidate in
            try self[candidate].source.bytes().elementsEqual(bytes)
          }
          if let original {
            originals[index] = original
          } else {
            firstOfSample[sample, default: []].append(index)
          }
        }
      }
    }
    return originals
  }
}

extension SharedBytes {
  /// A checksum of the first, middle and last bytes, which tells most different contents apart.
  fileprivate var sampleChecksum: UInt32 {
    let length = Swift.min(count, 4096)
    return [0, (count - length) / 2, count - length].reduce(0) { seed, start in
      CRC32.checksum(slice(start..<start + length), seed: seed)
    }
  }
}
