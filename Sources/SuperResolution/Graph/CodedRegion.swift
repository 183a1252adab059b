import CKernels

/// The results of a region that are codes because all that read them multiply codes.
struct CodedRegion: Sendable {
  /// What codes a result.
  enum Coding: Sendable {
    case layer(OutputCoding)
    case normalization(CodedNormalization)
    case attention(ck_quantizer)
  }

  /// One per operation; `nil` for a result of values.
  private(set) var codings: [Coding?]
  /// Whether each operation takes codes.
  private(set) var takesCodes: [Bool]
  /// The attention, if it multiplies codes.
  let attention: IntegerAttention?
  /// Where an attention's queries, keys and values are if it codes them in the image: the region's inputs,
  /// and their first channels. `nil` where they are in scratch memory.
  private(set) var codedInputs: [(input: Int, firstChannel: Int)]?

  /// Finds what can be codes; `nil` where nothing can.
  ///
  /// - Parameters:
  ///   - quantizers: one per site.
  ///   - normalization: returns the normalization of an operation.
  init?(
    _ region: GraphRegion, _ graph: NetworkGraph, _ quantizers: [ck_quantizer?],
    _ layers: IntegerLayers, normalization: (_ index: Int) -> LayerNormalization?
  ) {
    attention = region.attention.flatMap { graph.integerAttention($0, quantizers) }
    codings = region.operations.map { _ in nil }
    takesCodes = region.operations.map { _ in false }
    for (index, operation) in region.operations.enumerated() {
      guard let readers = region.readers(of: index), !readers.isEmpty,
        let parts = parts(of: operation.target, for: readers, region, graph, quantizers, layers)
      else { continue }
      switch graph.nodes[operation.node].operation {
      case .windowAttention:
        guard attention != nil, parts.count == 1,
          IntegerAttention.codesResults(by: parts[0].quantizer)
        else { continue }
        codings[index] = .attention(parts[0].quantizer)
      case .normalizePixels:
        guard parts.count == 1, let coded = normalization(index)?.coded(by: parts[0].quantizer)
        else { continue }
        codings[index] = .normalization(coded)
      case let node:
        guard let site = node.linearSite, let layer = layers.linear(at: site),
          let epilogue = operation.epilogue.kernel,
          let coding = OutputCoding(layer, then: epilogue, parts: parts)
        else { continue }
        codings[index] = .layer(coding)
      }
      for reader in readers { takesCodes[reader] = true }
    }
    guard attention != nil || takesCodes.contains(true) else { return nil }
    if attention != nil { codedInputs = inputsOfAttention(region, graph) }
  }

  /// Whether windows of an input are never copied.
  func readsInPlace(_ input: Int) -> Bool {
    codedInputs?.contains { $0.input == input } ?? false
  }

  /// Returns the inputs that an attention alone reads; `nil` where it does not read such inputs.
  private func inputsOfAttention(
    _ region: GraphRegion, _ graph: NetworkGraph
  ) -> [(input: Int, firstChannel: Int)]? {
    var found: [(input: Int, firstChannel: Int)] = []
    for (index, operation) in region.operations.enumerated() {
      guard case .windowAttention = graph.nodes[operation.node].operation else { continue }
      for rows in [operation.source] + operation.others {
        guard let input = region.inputs.firstIndex(where: { $0.rows.memory == rows.memory }),
          region.readers(ofInput: input) == [index]
        else { return nil }
        found.append((input, rows.firstChannel))
      }
    }
    return found
  }

  /// Returns the quantizers of a result's columns; `nil` where one of the readers takes no codes, or where
  /// they differ.
  private func parts(
    of rows: GraphRegion.Rows, for readers: [Int], _ region: GraphRegion, _ graph: NetworkGraph,
    _ quantizers: [ck_quantizer?], _ layers: IntegerLayers
  ) -> [ck_output_part]? {
    guard case .scratch(_, let columns) = rows.memory, rows.firstChannel == 0,
      columns >= GraphRegion.leastCodedChannels
    else { return nil }
    var found: [ck_output_part]?
    for reader in readers {
      let operation = region.operations[reader]
      let node = graph.nodes[operation.node].operation
      var parts: [ck_output_part] = []
      if case .windowAttention = node {
        guard let attention, operation.source == rows, columns == 3 * attention.channels,
          operation.others.enumerated().allSatisfy({ index, other in
            other.memory == rows.memory && other.firstChannel == (index + 1) * attention.channels
          })
        else { return nil }
        parts = attention.parts
      } else {
        guard operation.source == rows, operation.others.isEmpty, let site = node.linearSite,
          let layer = layers.linear(at: site), layer.inputs == columns,
          let quantizer = quantizers[site], quantizer.hasEqualBounds
        else { return nil }
        if case .add(let other) = operation.epilogue, other.memory == rows.memory { return nil }
        parts = [ck_output_part(columns: columns, factor: 1, quantizer: quantizer)]
      }
      guard found?.elementsEqual(parts, by: { $0.codesAlike($1) }) ?? true else { return nil }
      found = parts
    }
    return found
  }
}

extension GraphRegion {
  /// The fewest channels whose codes and marks, in rows of a multiple of 16 bytes, take no more memory
  /// than their values.
  static let leastCodedChannels = 12

  /// Returns the operations that read the result of operation `index`; `nil` where it is needed outside.
  fileprivate func readers(of index: Int) -> [Int]? {
    readers(of: operations[index].target.memory, after: index + 1)
  }

  /// Returns the operations that read an input; `nil` if it is also a result.
  fileprivate func readers(ofInput input: Int) -> [Int]? {
    readers(of: inputs[input].rows.memory, after: 0)
  }

  private func readers(of memory: Rows.Memory, after first: Int) -> [Int]? {
    guard case .scratch(let start, let count) = memory else { return nil }
    var readers: [Int] = []
    for (number, operation) in operations.enumerated().dropFirst(first) {
      var sources = [operation.source] + operation.others
      if case .add(let other) = operation.epilogue { sources.append(other) }
      if sources.contains(where: { $0.memory == memory }) { readers.append(number) }
      if case .scratch(let other, let otherCount) = operation.target.memory,
        other < start + count, start < other + otherCount
      {
        return readers
      }
    }
    return resultRows.contains { $0.memory == memory } ? nil : readers
  }
}

extension GraphRegion.Epilogue {
  /// What the kernels that code outputs apply first; `nil` where they cannot.
  fileprivate var kernel: Epilogue? {
    switch self {
    case .none: return Epilogue.none
    case .add: return nil
    case .function(let function):
      if case .none = function.epilogue { return nil }
      return function.epilogue
    }
  }
}

extension GraphOperation {
  /// The site of a linear layer's input, or of that of a convolution of single pixels.
  fileprivate var linearSite: Int? {
    switch self {
    case .linear(_, _, let site): site
    case .convolution(_, _, _, _, let site): isLinear ? site : nil
    default: nil
    }
  }
}

extension NetworkGraph {
  /// The attention of a node on codes, if its sites have quantizers for that.
  fileprivate func integerAttention(
    _ node: Int, _ quantizers: [ck_quantizer?]
  ) -> IntegerAttention? {
    guard case .windowAttention(let shape, let sites) = nodes[node].operation,
      let query = quantizers[sites.query], let key = quantizers[sites.key],
      let value = quantizers[sites.value], let probabilities = quantizers[sites.probabilities]
    else { return nil }
    return IntegerAttention(
      tokens: shape.height * shape.width, heads: shape.heads,
      headChannels: nodes[node].channels / shape.heads, query: query, key: key, value: value,
      probabilities: probabilities)
  }
}

extension ck_output_part {
  fileprivate func codesAlike(_ other: ck_output_part) -> Bool {
    columns == other.columns && factor == other.factor && quantizer.isEqual(to: other.quantizer)
  }
}
