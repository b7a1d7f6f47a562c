package lang

// model is what is known of a language. Lists were chosen by hand from the
// grammar of the languages and from the wording of questions about research
// projects; a word can be in several.
type model struct {
	words   string   // frequent words, in lower case, elided ones with their apostrophe
	letters string   // letters that the other two languages do not write
	pairs   []string // sequences of letters that are rare in the other two
	endings []string
}

var models = [3]model{
	{ // Catalan
		words: `a al als amb això aquest aquesta aquestes aquests cada cal cap com d' de del dels des dins dintre durant el els em en entre
			era es és està estan fa fer fins fora ha han hi i ja l' la les li llista llur m' ma mateix més meu molt molts n' na ni no
			nosaltres o on per però perquè pel pels quan quant quanta quants quantes que què qui quin quina quines quins s' sense ser seu
			seva seves seus si sobre són sota t' també tan tenen té tot tota totes tots un una unes uns va van vol dona doneu busca buscar
			cerca cercar mostra mostra'm vull voldria agradaria conèixer saber projecte projectes recerca treball treballs treballen ajut
			ajuts finançament finançats finançat empresa empreses universitat universitats centre centres entitat entitats hospital
			hospitals participació participen col·laboració coordinats coordinat concedit concedits matèria àmbit àmbits implicació
			voltant vinculats relacionats dedicats convocatòria programa programes iniciats any anys abans després últims endavant
			actualitat nacionals europeus regionals catalans catalanes italianes espanyols espanyola ciutat ciutats província regió país
			països investiga investiguen existeix existeixen trobar hem diners milió milions euros marc activitat puc podria digues
			digue'm ensenya necessito tenim`,
		letters: "àèòç·",
		pairs:   []string{"ny", "ix", "tj", "tg", "l·l", "tz", "ï", "ss", "gü"},
		endings: []string{"ció", "cions", "sió", "sions", "tat", "tats", "ment", "ments", "atge", "atges", "ques", "gues", "ància", "ència", "isme", "ista", "ístic", "iques", "òria", "ats", "uts", "ut", "iu", "ius", "ns", "ígies", "cies"},
	},
	{ // Spanish
		words: `a al algo ante año años antes bajo busca buscar cada como cómo con conocer cual cuál cuáles cuando cuánto cuántos cuánta
			cuántas da dame de del desde donde dónde durante e el él ella ellos en entre era es esa ese eso esta está están estas este
			esto estos existe existen fue fueron gustaría ha hacia han hasta hay la las le les lista lo los más me mi mis mismo mostrar
			muestra muestrame mucho muy ni no nos o para pero por porque puedo podría que qué quien quién quienes quiero se según ser si
			sin sobre son su sus también tan tiene tienen todo todos todas trata tras tu u un una unas uno unos y ya proyecto proyectos
			investigación investigan trabajo trabajos trabajan ayuda ayudas financiación financiados empresa empresas universidad
			universidades centro centros entidad entidades hospital hospitales participación participan colaboración coordinados
			coordinado concedido concedidas materia ámbito ámbitos implicación torno vinculados relacionados dedicados convocatoria
			programa programas iniciados después últimos adelante actividad marco nacionales europeos regionales catalanas alemanas
			españoles españolas ciudad ciudades provincia región país países encontrar dinero millón millones euros cantidad consorcios
			investiga dentro quisiera necesito dime enséñame tenemos`,
		letters: "ñ¿¡",
		pairs:   []string{"ll", "ue", "ie", "rr", "ch"},
		endings: []string{"ción", "ciones", "sión", "siones", "dad", "dades", "miento", "mientos", "mente", "aje", "ajes", "encia", "ancia", "encias", "ismo", "ivo", "ivos", "iva", "ivas", "ico", "icos", "ado", "ados", "ido", "idos", "o", "os", "ía", "ías", "ón", "eza", "as"},
	},
	{ // English
		words: `a about after all an and any are as at be been before between both by can could do does during each europe european find
			finding for from funded funding funds get give had has have he her his how i if in into involve involved involving is it its
			like linked list look looking many may me more most much must my national no not of off on only or other our out over own
			participation programme programmes program project projects provide regional research search shall she should show since so
			some spanish started such that the their them there these they this those through to total under until up us was we were what
			when where which while who whom why will with within without work working works would you your 's 'd 'll 're 've university
			universities company companies hospital hospitals institute institutes organisation organisations organization center centre
			centers centres grants grant money million year years city province region country countries interested know related
			collaboration consortia consortium dealing field fields focus focused topic topics number italian british german french
			catalan dutch slovenian later onwards earlier tell using based against towards`,
		letters: "",
		pairs:   []string{"w", "th", "gh", "k", "sh", "oo", "ee", "ck", "ph", "ea", "ou", "y"},
		endings: []string{"ing", "ings", "tion", "tions", "sion", "sions", "ness", "ity", "ities", "ment", "ments", "ed", "ly", "ies", "ics", "ology", "logy", "ance", "ence", "ship", "ism", "ful", "less", "ous", "ive", "ty", "ers", "ure"},
	},
}
