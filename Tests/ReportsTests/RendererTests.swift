import Testing

@testable import Reports

@Suite struct RendererTests {
  /// A small report with every kind of column and cell.
  private static let document = ReportDocument(
    title: "Report of a_b",
    summary: [
      .init("file", "m.pth"), .init("size", .integer(45_000), kind: .bytes),
      .init("tensors", .integer(1_234_567), kind: .integer),
    ],
    tables: [
      ReportTable(
        title: "Layers",
        columns: [
          .init(key: "name", heading: "tensor", kind: .text),
          .init(key: "plain", heading: "for programs", kind: .text, audience: .programs),
          .init(key: "human", heading: "shape", kind: .text, audience: .people),
          .init(key: "byteCount", heading: "size", kind: .bytes, isOptional: true),
          .init(key: "condition", heading: "condition", kind: .real, hasBar: true),
          .init(key: "changed", heading: "changed", kind: .share),
          .init(key: "note", heading: "note", kind: .remark),
        ],
        rows: [
          [
            .text("w|1"), .text("2x3"), .text("2×3"), .integer(512), .real(1234.5678),
            .real(0.125), .empty,
          ],
          [
            .text("a,\"b\""), .text("4"), .text("[4]"), .integer(2048), .empty, .empty,
            .text("a vector"),
          ],
          [
            .text("x"), .text("1x1"), .text("1×1"), .integer(1 << 30), .real(.infinity),
            .real(1), .text("a vector"),
          ],
        ])
    ], notes: ["A note."])

  @Test func textReportMatchesGolden() {
    #expect(
      TextRenderer(width: 100).render(Self.document) == """
        Report of a_b

        file     m.pth
        size     43.95 KiB
        tensors  1,234,567

        Layers
        tensor  shape       size  condition  changed  note
        w|1     2×3        512 B       1235    12.5%
        a,"b"   [4]    2.000 KiB                      1
        x       1×1    1.000 GiB        inf     100%  1

        1: a vector

        A note.

        """)
  }

  @Test func csvReportMatchesGolden() {
    #expect(
      CSVRenderer().render(Self.document)
        == "name,plain,byteCount,condition,changed,note\r\n"
        + "w|1,2x3,512,1234.5678,0.125,\r\n"
        + "\"a,\"\"b\"\"\",4,2048,,,a vector\r\n"
        + "x,1x1,1073741824,inf,1.0,a vector\r\n")
  }

  @Test func markdownReportMatchesGolden() {
    #expect(
      MarkdownRenderer().render(Self.document) == """
        # Report of a_b

        - file: m.pth
        - size: 43.95 KiB
        - tensors: 1,234,567

        ## Layers

        | tensor | shape | size | condition | changed | note |
        | --- | --- | ---: | ---: | ---: | --- |
        | w\\|1 | 2×3 | 512 B | 1235 | 12.5% |  |
        | a,"b" | \\[4\\] | 2.000 KiB |  |  | a vector |
        | x | 1×1 | 1.000 GiB | inf | 100% | a vector |

        A note.

        """)
  }

  @Test func htmlRowsHaveValuesAndBars() {
    let html = HTMLRenderer().render(Self.document)
    #expect(html.contains("<title>Report of a_b</title>"))
    #expect(
      html.contains(
        "<tr><td>w|1</td><td>2×3</td><td class=\"number optional\" data-value=\"512.0\" "
          + "title=\"512\">512 B</td><td class=\"number bar\" data-value=\"1234.5678\" "
          + "title=\"1234.5678\">1235<i style=\"width:100.0%\"></i></td>"
          + "<td class=\"number\" data-value=\"0.125\" title=\"0.125\">12.5%</td></tr>"))
    #expect(html.contains("<td>a,&quot;b&quot;<small>a vector</small></td>"))
    #expect(html.contains("inf<i class=\"infinite\" style=\"width:100.0%\"></i>"))
  }

  @Test func htmlLoadsNoExternalResources() {
    let html = HTMLRenderer().render(Self.document)
    for forbidden in ["http:", "https:", "src=", "href=", "@import", "url("] {
      #expect(!html.contains(forbidden), "\(forbidden)")
    }
    #expect(html.contains("default-src 'none'"))
    #expect(html.contains("prefers-color-scheme: dark"))
  }

  @Test(arguments: [40, 60, 80, 100, 160])
  func textFitsWidth(_ width: Int) {
    var document = Self.document
    let long = String(repeating: "layers.0.", count: 20) + "weight"
    document.title = long
    document.summary.append(.init("worst", long))
    document.notes.append(long + " " + long)
    document.tables[0] = ReportTable(
      title: "Layers", columns: document.tables[0].columns,
      rows: document.tables[0].rows + [
        [
          .text(long), .empty, .text("1×1"), .integer(1 << 40), .real(1e-9), .real(0.5),
          .text(long),
        ]
      ])
    let lines = TextRenderer(width: width).render(document).split(
      separator: "\n", omittingEmptySubsequences: false)
    #expect(lines.allSatisfy { $0.count <= max(width, 52) })
    #expect(width < 52 || lines.allSatisfy { $0.count <= width })
    #expect(lines.allSatisfy { $0.last != " " })
    #expect(lines.contains { $0.contains("…") && $0.contains("weight") })
  }

  @Test func omittedColumnsAreNamed() {
    let name = String(repeating: "n", count: 38)
    let table = ReportTable(
      title: "T",
      columns: [
        .init(key: "name", heading: "name", kind: .text),
        .init(key: "a", heading: "first", kind: .integer, isOptional: true),
        .init(key: "b", heading: "second", kind: .integer, isOptional: true),
      ], rows: [[.text(name), .integer(1), .integer(2)]])
    let document = ReportDocument(title: "R", summary: [], tables: [table])
    #expect(
      TextRenderer(width: 46).render(document) == """
        R

        T
        name                                    first
        \(name)      1

        Columns left out at this width: second.

        """)
  }

  @Test func emptyTablesSayNone() {
    let document = ReportDocument(
      title: "R", summary: [], tables: [ReportTable(title: "T", columns: [], rows: [])])
    #expect(TextRenderer(width: 80).render(document) == "R\n\nT: none\n")
    #expect(MarkdownRenderer().render(document) == "# R\n\n## T\n\nNone.\n")
    #expect(HTMLRenderer().render(document).contains("<p>None.</p>"))
  }

  @Test(
    arguments: [
      (0, "0"), (1, "1.000"), (-2.5, "-2.500"), (0.001, "0.001000"), (0.000999, "9.990e-4"),
      (12345.6, "12346"), (999_499, "999499"), (999_999, "1.000e6"), (1e6, "1.000e6"),
      (9.99996, "10.00"),
      (.infinity, "inf"), (-.infinity, "-inf"), (.nan, "nan"),
      (.leastNonzeroMagnitude, "4.941e-324"),
    ] as [(Double, String)])
  func realNumbersAreFormatted(_ value: Double, _ text: String) {
    #expect(ReportNumber.real(value) == text)
  }

  @Test(arguments: [
    (0, "0 B"), (1023, "1023 B"), (1024, "1.000 KiB"), (1_048_064, "0.9995 MiB"),
    (1_047_552, "1023 KiB"), (4_096_000_000, "3.815 GiB"), (Int.max, "8.000 EiB"),
  ])
  func byteCountsAreFormatted(_ count: Int, _ text: String) {
    #expect(ReportNumber.bytes(count) == text)
  }

  @Test(arguments: [
    (0, "0"), (999, "999"), (1000, "1,000"), (-123_456, "-123,456"),
    (Int.min, "-9,223,372,036,854,775,808"),
  ])
  func integersAreFormatted(_ value: Int, _ text: String) {
    #expect(ReportNumber.integer(value) == text)
  }

  @Test(
    arguments: [
      (0, "0%"), (1e-9, "<0.1%"), (0.5, "50.0%"), (0.9999, ">99.9%"), (1, "100%"),
    ] as [(Double, String)])
  func sharesAreFormatted(_ value: Double, _ text: String) {
    #expect(ReportNumber.share(value) == text)
  }
}
