import Storage

/// Pickles, and what is inside them.
extension FileAudit {
  /// Audits one or more consecutive pickles, which must fill `bytes`.
  mutating func auditPickles(
    _ bytes: SharedBytes, baseOffset: Int, place: String, depth: Int,
    archive: ArchiveKind = ArchiveKind()
  ) {
    var reader = ByteReader(bytes, baseOffset: baseOffset)
    var index = 0
    repeat {
      let start = reader.offset
      let startOffset = reader.fileOffset
      guard pickles.count < Self.pickleLimit else {
        addProblem("more than \(Self.pickleLimit) pickles", place: place, offset: startOffset)
        return
      }
      if index > 0, Self.isZip(bytes.slice(start..<bytes.count)) {
        auditAttachment(bytes.slice(start..<bytes.count), place: place, depth: depth)
        return
      }
      let record = PickleMachine.record(from: &reader)
      let inner = index == 0 ? place : Self.join(place, "pickle \(index + 1)")
      if let problem = record.problem {
        let message =
          index == 0
          ? problem.problem.description
          : "the data after the pickle (\(counted(bytes.count - start, "byte"))) is not a pickle: "
            + "\(problem.problem)"
        addProblem(message, place: place, offset: index == 0 ? problem.offset : startOffset)
      }
      let events =
        archive.scriptFolder != nil ? record.events.map(\.allowingTorchScript) : record.events
      collectStorages(of: record.graph)
      if index == 0 || record.problem == nil || !events.isEmpty {
        add(
          Pickle(place: inner, events: events, problem: record.problem?.problem.description))
      }
      auditNested(record, place: inner, depth: depth)
      if record.problem != nil { return }
      index += 1
    } while !Self.isBlank(bytes.slice(reader.offset..<bytes.count))
  }

  static func isBlank(_ bytes: SharedBytes) -> Bool {
    bytes.count <= 16 && bytes.array.allSatisfy { [0x09, 0x0A, 0x0D, 0x20].contains($0) }
  }

  /// Reports a zip archive behind a pickle: two programs may read such a file differently.
  private mutating func auditAttachment(_ bytes: SharedBytes, place: String, depth: Int) {
    addProblem("a zip archive follows the pickle", place: place)
    audit(Content(bytes, place: Self.join(place, "attached zip"), depth: depth + 1))
  }

  /// Audits an unzipped checkpoint: its pickles, and the storages behind them, which must end the
  /// file.
  mutating func auditStream(_ bytes: SharedBytes, baseOffset: Int, place: String, depth: Int) {
    var found: [(record: PickleRecord, place: String)] = []
    do {
      _ = try PyTorchLegacyStream(
        parsing: ByteReader(bytes, baseOffset: baseOffset),
        readingPickles: { reader, purpose in
          let record = PickleMachine.record(from: &reader)
          found.append((record, Self.join(place, purpose)))
          if let problem = record.problem { throw problem }
          return record.graph
        }, load: { bytes.slice($0) })
    } catch {
      addProblem(error, place: place)
    }
    for (record, place) in found {
      if !record.events.isEmpty || record.problem != nil {
        add(
          Pickle(
            place: place, events: record.events, problem: record.problem?.problem.description))
      }
      auditNested(record, place: place, depth: depth)
    }
  }

  /// Audits the strings and byte strings of a pickle that are pickles themselves.
  mutating func auditNested(_ record: PickleRecord, place: String, depth: Int) {
    for (reference, node) in record.graph.nodes.enumerated() {
      guard let bytes = Self.payload(node), bytes.count >= 4 else { continue }
      let inner = Self.join(place, "bytes at \(record.graph.positions[reference])")
      if PyTorchLegacyStream.isBeginning(bytes) {
        guard depth < Self.depthLimit else {
          addProblem("pickles are nested more than \(Self.depthLimit) deep", place: place)
          return
        }
        auditStream(bytes, baseOffset: 0, place: inner, depth: depth + 1)
        continue
      }
      if Self.isZip(bytes) {
        audit(Content(bytes, place: inner, depth: depth + 1))
        continue
      }
      var reader = ByteReader(bytes)
      let nested = PickleMachine.record(from: &reader)
      let isWhole = reader.isAtEnd && nested.problem == nil
      let isText = if case .text = node { true } else { false }
      let isEvidence = nested.isEvidence(isWhole: reader.isAtEnd, isText: isText)
      guard isEvidence || isWhole && nested.holdsContent else { continue }
      guard depth < Self.depthLimit else {
        addProblem("pickles are nested more than \(Self.depthLimit) deep", place: place)
        return
      }
      if isEvidence {
        add(
          Pickle(
            place: inner, events: nested.events, problem: nested.problem?.problem.description))
      }
      auditNested(nested, place: inner, depth: depth + 1)
    }
  }

  /// Returns the bytes from which a string or byte string would be unpickled.
  private static func payload(_ node: PickleGraph.Node) -> SharedBytes? {
    switch node {
    case .bytes(let bytes): return bytes
    case .text(let text):
      guard text.utf8.count >= 4 else { return nil }
      // Protocols before 3 pickle bytes as Latin-1 strings.
      let latin = text.unicodeScalars.compactMap { UInt8(exactly: $0.value) }
      return SharedBytes(latin.count == text.unicodeScalars.count ? latin : Array(text.utf8))
    default: return nil
    }
  }
}

extension PickleRecord {
  /// Whether the pickle holds a string or byte string that may itself be a pickle.
  fileprivate var holdsContent: Bool {
    graph.nodes.contains { node in
      switch node {
      case .bytes(let bytes): bytes.count >= 4
      case .text(let text): text.utf8.count >= 4
      default: false
      }
    }
  }

  /// Whether content that nothing else marks as a pickle is one.
  ///
  /// Text and numbers may begin like a pickle. A pickle that breaks off counts only if it calls
  /// something dangerous or, unless the content is text, names something dangerous. A pickle that
  /// ends counts if it names something, or ends with the content.
  func isEvidence(isWhole: Bool, isText: Bool) -> Bool {
    let isEnded = problem == nil
    return events.contains { event in
      switch event.kind {
      case .global(let name):
        Self.isName(name)
          && (isEnded ? isWhole || !isText : !isText && event.verdict == .dangerous)
      case .call(let name, _), .state(let name, _):
        isEnded
          ? isWhole || name.map(Self.isName) ?? !isText
          : event.verdict == .dangerous && name.map(Self.isName) ?? false
      case .computedGlobal: isEnded
      default: isEnded && isWhole
      }
    }
  }

  /// Whether `name` is a dotted name that Python could look up.
  private static func isName(_ name: String) -> Bool {
    name.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { part in
      guard let first = part.unicodeScalars.first, first == "_" || first.properties.isAlphabetic
      else { return false }
      return part.unicodeScalars.allSatisfy {
        $0 == "_" || $0.properties.isAlphabetic || $0.properties.numericType != nil
      }
    }
  }
}

extension PickleEvent {
  /// Returns the event, allowed if it concerns a class under `__torch__`, where a TorchScript
  /// archive's own program defines its classes.
  fileprivate var allowingTorchScript: PickleEvent {
    let name: String?
    switch kind {
    case .global(let global): name = global
    case .call(let callee, _): name = callee
    case .state(let callee, isGlobal: false): name = callee
    default: name = nil
    }
    guard let name, name.hasPrefix("__torch__."), verdict == .unknown else { return self }
    return PickleEvent(self, verdict: .allowed, knownFor: "a class of the archive's own program")
  }

  private init(_ event: PickleEvent, verdict: PickleVerdict, knownFor: String?) {
    self.init(
      event.kind, PickleGlobalJudgement(verdict, knownFor), opcodeName: event.opcode,
      offset: event.offset)
  }
}
