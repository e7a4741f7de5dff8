// SPDX-License-Identifier: MIT
/*
 * A plugin that gives Elasticsearch what its analyzer of e-mail addresses is made of.
 *
 * The index that API keys are kept in has that analyzer, and the server that the tests run,
 * which has the security plugin, comes without the module that has the parts (analysis-common).
 */
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;

import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.Tokenizer;
import org.apache.lucene.analysis.miscellaneous.RemoveDuplicatesTokenFilter;
import org.apache.lucene.analysis.pattern.PatternCaptureGroupTokenFilter;
import org.apache.lucene.analysis.standard.UAX29URLEmailTokenizer;
import org.elasticsearch.index.analysis.AbstractTokenFilterFactory;
import org.elasticsearch.index.analysis.AbstractTokenizerFactory;
import org.elasticsearch.index.analysis.TokenFilterFactory;
import org.elasticsearch.index.analysis.TokenizerFactory;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.elasticsearch.plugins.AnalysisPlugin;
import org.elasticsearch.plugins.Plugin;

public class EmailAnalysis extends Plugin implements AnalysisPlugin {
	@Override
	public Map<String, AnalysisProvider<TokenizerFactory>> getTokenizers() {
		return Map.of("uax_url_email", (index, environment, name, settings) ->
			new AbstractTokenizerFactory(index, settings, name) {
				@Override
				public Tokenizer create() {
					return new UAX29URLEmailTokenizer();
				}
			});
	}

	@Override
	public Map<String, AnalysisProvider<TokenFilterFactory>> getTokenFilters() {
		return Map.of("pattern_capture", AnalysisPlugin.requiresAnalysisSettings(
			(index, environment, name, settings) -> {
				List<String> patterns = settings.getAsList("patterns");
				Pattern[] compiled = patterns.stream().map(Pattern::compile).toArray(Pattern[]::new);
				boolean original = settings.getAsBoolean("preserve_original", true);
				return new AbstractTokenFilterFactory(index, name, settings) {
					@Override
					public TokenStream create(TokenStream in) {
						return new PatternCaptureGroupTokenFilter(in, original, compiled);
					}
				};
			}),
			"unique", (index, environment, name, settings) ->
			new AbstractTokenFilterFactory(index, name, settings) {
				@Override
				public TokenStream create(TokenStream in) {
					return new RemoveDuplicatesTokenFilter(in);
				}
			});
	}
}
